//! The pages that a new user reads: every command in them is run, every piece of configuration loaded, every link followed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    machine::{Machine, source},
    package::package,
};

/// What is between two fences.
struct Block {
    page: String,
    language: String,
    text: String,
}

/// In the order of a reader.
fn pages() -> Vec<PathBuf> {
    let chapters = [
        "install",
        "tls",
        "operations",
        "monitoring",
        "cost",
        "scaling",
        "security",
        "moderation",
        "troubleshooting",
        "from-coturn",
    ];
    let mut pages = vec![source("README.md")];
    pages.extend(chapters.map(|name| source(&format!("docs/{name}.md"))));
    let there = fs::read_dir(source("docs")).unwrap().map(|file| file.unwrap().path());
    let forgotten: Vec<_> =
        there.filter(|path| path.extension().is_some_and(|e| e == "md") && !pages.contains(path)).collect();
    assert!(forgotten.is_empty(), "not read by this test: {forgotten:?}");
    pages
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.file_name().unwrap().to_string_lossy().into_owned();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inner: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block { page: name.clone(), language: language.to_owned(), text: inner.join("\n") });
        }
    }
    blocks
}

/// What ends with 1 where it finds something, as on a machine whose name nobody has certified.
const MAY_FIND: [&str; 3] = ["turnpike doctor", "turnpike probe", "turnpike cert status"];

#[test]
fn every_command_in_the_pages_runs_as_it_is_written() {
    let packages = tempfile::tempdir().unwrap();
    let built = [package(packages.path(), "0.1.0-1"), package(packages.path(), "0.1.1-1")];
    let machine = Machine::start();
    for (file, name) in built.iter().zip(["0.1.0-1", "0.1.1-1"]) {
        let brought = machine.bring(file);
        machine.ok(&["cp", &brought, &format!("/root/turnpike_{name}_amd64.deb")]);
    }
    let coturn = machine.bring(Path::new("/etc/turnserver.conf"));
    machine.ok(&["cp", &coturn, "/etc/turnserver.conf"]);
    machine.ok(&["sh", "-c", "echo '198.18.0.1 turn.example.org' >> /etc/hosts"]);
    // Everything is done by root.
    machine.ok(&[
        "sh",
        "-c",
        "printf '#!/bin/sh\\nexec env \"$@\"\\n' > /usr/bin/sudo; chmod +x /usr/bin/sudo",
    ]);

    let (mut units, mut run) = (Vec::new(), 0);
    for page in pages() {
        for Block { page, text, .. } in blocks(&page).into_iter().filter(|block| block.language == "sh") {
            for line in text.lines() {
                run += 1;
                if line.starts_with("make ") {
                    let dry = Command::new("make")
                        .arg("-n")
                        .args(line.split(' ').skip(1))
                        .current_dir(source(""))
                        .output();
                    assert!(dry.as_ref().is_ok_and(|dry| dry.status.success()), "{page}: {line}: {dry:?}");
                    continue;
                }
                let output = machine.run(&["sh", "-c", &format!("cd /root && {line}")]);
                let said =
                    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
                let may_find = MAY_FIND.iter().any(|command| line.contains(command));
                let fits = output.status.success()
                    || may_find && output.status.code() == Some(1) && !said.is_empty();
                assert!(fits, "{page}: {line}: {:?} {said}", output.status);
                // Whatever has been stopped for a restart is started again, by the program that is there now.
                for (place, name) in
                    ["turnpike-relay.service", "turnpike-signaling.service"].iter().enumerate()
                {
                    if units.len() == place {
                        units.push(machine.serve(name));
                    } else if !units[place].is_alive() {
                        units[place] = machine.serve(name);
                    }
                }
            }
        }
    }
    assert!(run > 40, "{run}");
}

#[test]
fn every_piece_of_configuration_in_the_pages_can_be_loaded_and_every_program_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut loaded, mut read) = (0, 0);
    for block in pages().iter().flat_map(|page| blocks(page)) {
        let Block { page, language, text } = &block;
        match language.as_str() {
            "toml" => {
                let config = folder.path().join("turnpike.toml");
                fs::write(&config, text).unwrap();
                // In a network of its own: a piece may name the metadata service.
                let shown = crate::namespace::alone(|| {
                    crate::namespace::interface("eth0", &["198.18.0.1/24"]);
                    crate::node::turnpike(&["config", "show", "--config"]).arg(&config).output().unwrap()
                });
                assert!(shown.status.success(), "{page}: {}\n{text}", String::from_utf8_lossy(&shown.stderr));
                loaded += 1;
            }
            "js" => {
                let program = folder.path().join("program.mjs");
                fs::write(&program, text).unwrap();
                let checked = Command::new("node").arg("--check").arg(&program).output().unwrap();
                assert!(checked.status.success(), "{page}: {}", String::from_utf8_lossy(&checked.stderr));
                read += 1;
            }
            "sh" => {}
            other => panic!("{page}: {other:?} is not tried by any test"),
        }
    }
    assert!(loaded > 5 && read > 0);
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !link.starts_with("http") && !file.is_empty() {
                assert!(page.parent().unwrap().join(file).exists(), "{}: {link}", page.display());
            }
        }
    }
}
