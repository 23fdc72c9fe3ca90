use std::{fs, os::unix::fs::PermissionsExt as _};

use turnpike_config::{MissingSecret, Note};

use super::Machine;

#[test]
fn a_missing_secret_is_made_by_a_service_and_kept() {
    let machine = Machine::new();
    let first = machine.load(None).unwrap();
    assert_eq!(first.notes, [Note::SecretMade(first.secret_file.clone())]);
    let second = machine.load(None).unwrap();
    assert_eq!(second.config.auth.secrets, first.config.auth.secrets);
    assert_eq!(second.notes, []);
}

#[test]
fn a_missing_secret_is_not_made_by_a_check_nor_for_a_credential() {
    let machine = Machine::new();
    let checked = machine.load_as(None, MissingSecret::StandIn, false).unwrap();
    assert_eq!(checked.notes, [Note::SecretToBeMade(checked.secret_file.clone())]);
    assert_eq!(checked.config.auth.secrets.len(), 1);

    let error = machine.load_as(None, MissingSecret::Refuse, false).unwrap_err().to_string();
    assert!(error.starts_with("there is no secret file "), "{error}");
    assert!(!checked.secret_file.exists());
}

#[test]
fn a_bad_configuration_makes_no_secret() {
    let mut machine = Machine::new();
    machine.set("TURNPIKE_RELAY__SHARDS", "-1");
    machine.load(None).unwrap_err();
    assert!(!machine.folder.path().join("share").exists());
}

#[test]
fn a_secret_that_every_user_can_read_is_told() {
    let machine = Machine::new();
    let path = machine.load(None).unwrap().secret_file;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let notes = machine.load(None).unwrap().notes;
    assert_eq!(notes, [Note::SecretOpenToAll(path)]);
    assert!(notes[0].is_warning());
}

#[test]
fn api_keys_are_read_one_a_line() {
    let mut machine = Machine::new().with_own_secret();
    let path = machine.folder.path().join("keys");
    machine.set("TURNPIKE_AUTH__API_KEYS_FILE", path.to_str().unwrap());
    let error = machine.load(None).unwrap_err().to_string();
    assert!(error.contains("keys cannot be read ("), "{error}");

    fs::write(&path, "one\n\ntwo\n").unwrap();
    let keys = machine.load(None).unwrap().config.auth.api_keys;
    assert_eq!(keys.iter().map(|key| key.expose()).collect::<Vec<_>>(), [b"one", b"two"]);
}
