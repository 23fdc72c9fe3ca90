//! Running the rules.

use std::thread;

use turnpike_turn_client::{Writer, method};

use crate::{
    Line, Report, Rule, Target, Verdict,
    finding::{Check, Finding},
    lab::{Lab, unix_now},
    rule::Test,
    rules,
};

/// Whether the server answers a Binding.
///
/// # Errors
/// Why not, and what to do about it.
pub fn reachable(target: &Target) -> Result<(), String> {
    let asked =
        Lab::new(target, 0).client().and_then(|mut client| client.ask(&Writer::request(method::BINDING)));
    asked.map(drop).map_err(|finding| {
        let why = match finding {
            Finding::Fail { seen, .. } => seen,
            Finding::NotApplicable(why) => why,
        };
        let (server, transport) = (target.server, target.transport);
        format!(
            "no STUN server answers at {server} over {transport} ({why}): start it, or give another --server"
        )
    })
}

/// Runs the rules of these numbers, all when there are none: one after the other, and behind them those that wait,
/// side by side.
pub fn score(target: &Target, numbers: &[u8]) -> Report {
    let rules: Vec<Rule> = rules::all()
        .into_iter()
        .filter(|rule| numbers.is_empty() || numbers.contains(&rule.number))
        .collect();
    let quick: Vec<Option<Check>> =
        rules.iter().map(|rule| rule.test.map(|test| run(target, rule, test))).collect();
    let waited = wait_for(target, &rules, &quick);
    let lines = rules.iter().zip(quick).zip(waited);
    Report {
        server: target.server.to_string(),
        transport: target.transport.to_string(),
        taken_at: unix_now(),
        lines: lines.map(|((rule, quick), waited)| line(target, rule, quick, waited)).collect(),
    }
}

fn run(target: &Target, rule: &Rule, test: Test) -> Check {
    test(&Lab::new(target, rule.number))
}

/// The outcome of the waiting tests that there is time for.
fn wait_for(target: &Target, rules: &[Rule], quick: &[Option<Check>]) -> Vec<Option<Check>> {
    thread::scope(|scope| {
        let running: Vec<_> = rules
            .iter()
            .zip(quick)
            .map(|(rule, quick)| {
                let failed = quick.as_ref().is_some_and(Result::is_err);
                let (seconds, test) = rule.timed?;
                (seconds <= target.slow && !failed).then(|| scope.spawn(move || run(target, rule, test)))
            })
            .collect();
        let join = |handle: thread::ScopedJoinHandle<'_, Check>| {
            handle.join().expect("a rule's test does not panic")
        };
        running.into_iter().map(|handle| handle.map(join)).collect()
    })
}

fn line(target: &Target, rule: &Rule, quick: Option<Check>, waited: Option<Check>) -> Line {
    let timer = rule
        .timed
        .filter(|_| waited.is_none())
        .map(|(seconds, _)| format!("takes {seconds} s: --slow {seconds}"));
    let (verdict, detail) = match (quick, waited) {
        (Some(Err(finding)), _) | (_, Some(Err(finding))) => match finding {
            Finding::Fail { expected, seen } => (Verdict::Fail, format!("expected {expected}; saw {seen}")),
            Finding::NotApplicable(why) => (Verdict::NotApplicable, why),
        },
        (_, Some(Ok(()))) => (Verdict::Pass, String::new()),
        (Some(Ok(())), None) => {
            (Verdict::Pass, timer.map_or_else(String::new, |timer| format!("its timer {timer}")))
        }
        (None, None) => match timer {
            Some(timer) => (Verdict::Skipped, timer),
            None => (Verdict::NotApplicable, "not visible from outside".into()),
        },
    };
    let core: Vec<&str> = rule.core_tests().collect();
    let shown_by_core = target.own && !core.is_empty();
    match (verdict, detail.is_empty()) {
        (Verdict::NotApplicable | Verdict::Skipped, _) if shown_by_core => {
            Line { number: rule.number, verdict: Verdict::Core, detail: core.join(", ") }
        }
        (Verdict::Pass, false) if shown_by_core => {
            Line { number: rule.number, verdict, detail: format!("its timer by {}", core.join(", ")) }
        }
        _ => Line { number: rule.number, verdict, detail },
    }
}
