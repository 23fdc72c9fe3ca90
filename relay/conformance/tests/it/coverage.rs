use std::collections::BTreeSet;

use turnpike_conformance::{Rule, Seen, list, rules};

#[test]
fn there_are_96_rules_each_with_its_number_sentence_and_section() {
    let rules = rules::all();
    let numbers: Vec<u8> = rules.iter().map(|rule| rule.number).collect();
    assert_eq!(numbers, (1..=96).collect::<Vec<u8>>());
    for rule in &rules {
        assert!(!rule.sentence.is_empty() && rule.section.starts_with(['S', 'T']), "rule {}", rule.number);
        assert!(!rule.sentence.contains('|'), "rule {} goes into a table", rule.number);
    }
}

#[test]
fn every_rule_is_seen_on_the_wire_or_by_a_test_of_the_core() {
    let shown = |rule: &Rule| rule.shown_by().next().is_some();
    let missing: Vec<u8> = rules::all().iter().filter(|rule| !shown(rule)).map(|rule| rule.number).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_rule_with_a_timer_has_a_test_of_the_core_in_virtual_time() {
    let timed: BTreeSet<u8> = rules::all()
        .iter()
        .filter(|rule| rule.seen == Seen::Core && rule.core_tests().next().is_none())
        .map(|rule| rule.number)
        .collect();
    assert_eq!(timed, BTreeSet::new());
}

#[test]
fn the_list_has_every_rule_and_names_what_shows_it() {
    let list = list();
    for rule in rules::all() {
        let head = format!("{:>2}  {:<13}{}", rule.number, rule.seen.name(), rule.sentence);
        let mut lines = list.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
        let tests: Vec<&str> =
            lines.by_ref().take_while(|line| line.starts_with("    ")).map(str::trim).collect();
        assert_eq!(tests, rule.shown_by().collect::<Vec<_>>(), "{head}");
        assert!(rule.core_tests().all(|name| tests.contains(&name)));
    }
}
