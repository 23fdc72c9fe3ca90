//! A Debian machine of a test's own: a root made by debootstrap, in a network without a way out. systemd does not run in
//! it: the services are started by the command lines of their units, and a `systemctl` of the test's own notes what it is
//! asked for.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use turnpike_turn_client::{AllocateOptions, Allocation, Connection, Credentials, Endpoint, Transport};

use crate::{lines::Lines, node::in_an_hour};

const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// What the package's scripts call; it notes what it is asked for, and stops what the test has started.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> /run/asked
for word; do last=$word; done
pid_of() { cat "/run/pid.${1%.service}.service" 2> /dev/null; }
# Whoever has ended is a zombie until the test asks for it.
lives() { grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
case " $* " in
  *" preset "*|*" disable "*) exec /usr/bin/systemctl.real "$@" ;;
  *" enable "*|*" is-enabled "*)
    case " $* " in *" is-enabled "*) verb=is-enabled ;; *) verb=enable ;; esac
    exec /usr/bin/systemctl.real --root=/ "$verb" "$last" ;;
  *" is-active "*) pid=$(pid_of "$last") && lives "$pid"; exit ;;
  *" reload "*)
    for unit; do pid=$(pid_of "$unit") || continue; kill -HUP "$pid"; done ;;
  *" stop "*|*" restart "*|*" try-restart "*)
    for unit; do
      pid=$(pid_of "$unit") || continue
      lives "$pid" || continue
      kill "$pid"
      while lives "$pid"; do sleep 0.05; done
    done ;;
esac
"#;

/// A machine with Debian on it, gone when dropped.
pub(crate) struct Machine {
    process: Child,
    _folder: TempDir,
    /// Its /run, seen from outside.
    pub(crate) run: PathBuf,
    root: PathBuf,
}

pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

impl Machine {
    pub(crate) fn start() -> Self {
        let debian = source(".make/debian-root");
        assert!(
            debian.join("usr/bin/dpkg").exists(),
            "there is no {}: run `make setup-test`",
            debian.display()
        );
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let root = folder.path().join("root");
        for name in ["run", "root", "upper", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let script = format!(
            "set -e\n\
             mount -t overlay overlay -o lowerdir={debian},upperdir={top}/upper,workdir={top}/work {top}/root\n\
             mount -t proc proc {top}/root/proc\n\
             mount --bind /dev {top}/root/dev\n\
             mount --bind {top}/run {top}/root/run\n\
             ip link set dev lo up\n\
             ip link add eth0 type veth peer name far\n\
             ip link set dev eth0 up\n\
             ip link set dev far up\n\
             ip address add {ADDRESS}/24 dev eth0\n\
             echo ready\n\
             exec sleep infinity\n",
            debian = debian.display(),
            top = folder.path().display(),
        );
        let mut process = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Lines::of(process.stdout.take().unwrap());
        lines.wait_until(|lines| lines.iter().any(|line| line == "ready").then_some(()));
        let machine = Self { process, _folder: folder, run, root };
        fs::create_dir_all(machine.run.join("systemd/system")).unwrap();
        fs::create_dir_all(machine.run.join("lock")).unwrap();
        machine.ok(&["sh", "-c", &format!("mv /usr/bin/systemctl /usr/bin/systemctl.real; cat > /usr/bin/systemctl <<'END'\n{SYSTEMCTL}END\nchmod +x /usr/bin/systemctl")]);
        machine
    }

    /// A command inside, with no environment of the test's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.process.id().to_string();
        command.args(["--target", &target, "--mount", "--net", "chroot"]).arg(&self.root).args(arguments);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Puts a file where the machine has it.
    pub(crate) fn bring(&self, file: &Path) -> String {
        let name = file.file_name().unwrap();
        fs::copy(file, self.run.join(name)).unwrap();
        Path::new("/run").join(name).display().to_string()
    }

    /// What its systemctl was asked for since the last time.
    pub(crate) fn asked(&self) -> String {
        let asked = fs::read_to_string(self.run.join("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.run.join("asked"));
        asked
    }

    /// Every path, but for what the kernel makes.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let found = self
            .ok(&["find", "/", "-path", "/proc", "-prune", "-o", "-path", "/dev", "-prune", "-o", "-print"]);
        found.lines().map(str::to_owned).collect()
    }

    /// Calls a function in the machine's network.
    pub(crate) fn inside<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.process.id())).unwrap();
        let enter_and_call = || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            call()
        };
        thread::scope(|scope| scope.spawn(enter_and_call).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a service by its unit's command line, as its unit's user, and waits until it has told its manager that it
    /// is ready.
    pub(crate) fn serve(&self, unit: &str) -> Unit {
        let text = self.ok(&["cat", &format!("/usr/lib/systemd/system/{unit}")]);
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(&format!("{key}=")))
                .unwrap_or_else(|| panic!("no {key}"))
        };
        assert_eq!((value("Type"), value("User"), value("Group")), ("notify", "turnpike", "turnpike"));
        let notify = self.run.join(format!("notify.{unit}"));
        let _ = fs::remove_file(&notify);
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        self.ok(&["chmod", "666", &format!("/run/notify.{unit}")]);
        let mut arguments = vec!["setpriv", "--reuid=turnpike", "--regid=turnpike", "--init-groups"];
        if text.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n") {
            arguments.extend(["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]);
        }
        arguments.extend(value("ExecStart").split(' '));
        let mut command = self.command(&arguments);
        command.env("NOTIFY_SOCKET", format!("/run/notify.{unit}"));
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Lines::of(process.stderr.take().unwrap());
        fs::write(self.run.join(format!("pid.{unit}")), process.id().to_string()).unwrap();
        let unit = Unit { process, manager, log };
        unit.hears("READY=1\n");
        unit
    }

    pub(crate) fn secrets(&self) -> Vec<String> {
        self.ok(&["cat", "/etc/turnpike/secret"]).lines().map(str::to_owned).collect()
    }

    pub(crate) fn allocate(&self, secret: &str, subject: &str) -> Allocation {
        self.inside(|| {
            let server = SocketAddr::from((ADDRESS, 3478));
            let bind = Some(SocketAddr::from((ADDRESS, 0)));
            let endpoint = Endpoint { server, transport: Transport::Udp, tls: None, bind };
            let credentials = Credentials::mint(secret.as_bytes(), in_an_hour(), subject);
            let connection = Connection::open(&endpoint).unwrap();
            Allocation::open(connection, credentials, None, &AllocateOptions::default()).unwrap()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What was started in it has been ended by its own drop.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running service, killed when dropped.
pub(crate) struct Unit {
    process: Child,
    manager: UnixDatagram,
    pub(crate) log: Lines,
}

impl Unit {
    #[track_caller]
    pub(crate) fn hears(&self, expected: &str) {
        let mut message = [0; 1024];
        let length =
            self.manager.recv(&mut message).unwrap_or_else(|error| panic!("{error}: {:#?}", self.log));
        let said = String::from_utf8_lossy(&message[..length]).into_owned();
        assert!(said.starts_with(expected), "{said}: {:#?}", self.log);
    }

    /// As ExecReload= does.
    pub(crate) fn reload(&self) {
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
        self.hears("RELOADING=1\n");
        self.hears("READY=1\n");
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
