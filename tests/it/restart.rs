//! Signaling is restarted, and the calls know nothing of it.

use std::time::{Duration, Instant};

use crate::{
    pair_end::{pair, site},
    session::Client,
};

#[tokio::test(flavor = "multi_thread")]
async fn signaling_ends_at_once_and_goes_on_with_its_pairs_when_it_is_started_anew() {
    let site = site();
    let _relay = site.start_beside("relay");
    let mut signaling = site.start_beside("signaling");
    let (mut one, mut two, pair, credentials) = pair(site.http).await;
    for client in [&mut one, &mut two] {
        client.event("match.start").await;
    }
    let mut allocation = site.allocate_as(credentials).unwrap();
    let lost = [one.state(), two.state()];
    let asked = Instant::now();
    assert!(signaling.end().success());
    assert!(asked.elapsed() < Duration::from_secs(10), "it waits for no call: {:?}", asked.elapsed());

    let again = site.start_beside("signaling");
    let taken = again.log.wait_for("sessions and pairs of the last run go on");
    assert_eq!((&taken["sessions"], &taken["pairs"]), (&2.into(), &1.into()));
    for lost in &lost {
        let (_, resumed) = Client::take_over(&site.http.to_string(), lost).await;
        assert_eq!((&resumed["state"], &resumed["pair"]), (&"active".into(), &pair.clone().into()));
    }
    allocation.refresh(None).unwrap();
}
