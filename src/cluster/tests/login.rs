//! The user: logging in, and what it may do.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::greeting::problem;
use super::*;
use crate::cluster::{Failure, Login, Problem, Servers, SwappedChannel};

/// The rights that docs/cluster.md lists.
pub(super) const RIGHTS: &str = "resetchannels ~{usher:*}:* &{usher:*}:* -@all +info +time +wait +eval +evalsha +get +pttl +pexpire +scan \
                                 +set +del +publish +subscribe";

/// A server with an ACL file, whose user `default` may do everything without a password.
fn with_acl(rights: &str) -> Server {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("users.acl");
    let users = format!("user default on nopass ~* &* +@all\nuser usher on >secret {rights}\n");
    std::fs::write(&file, users).expect("a file");
    let file = file.to_str().expect("a path").to_owned();
    Server::start_in(directory, &["--aclfile", &file])
}

fn login(user: &str, password: &str) -> Login {
    Login { username: Some(user.to_owned()), password: Some(password.to_owned()), database: 0 }
}

async fn found(server: &Server, login: Login) -> Problem {
    problem(Servers::One(server.address()), |options| options.login = login).await
}

#[tokio::test]
async fn a_wrong_login_is_told_without_the_password() {
    let server = with_acl("~* +@all");
    for login in [login("usher", "canary"), login("nobody", "canary")] {
        let problem = found(&server, login).await;
        assert!(matches!(problem, Problem::LoginRefused { .. }), "{problem:?}");
        let text = format!("{problem} {problem:?}");
        assert!(text.contains("cluster.username") && !text.contains("canary"), "{text}");
    }
    let locked = Server::start_with(&["--requirepass", "secret"]);
    let problem = found(&locked, Login::default()).await;
    assert!(matches!(problem, Problem::LoginNeeded { .. }), "{problem:?}");
    assert!(problem.to_string().contains("USHER_CLUSTER__PASSWORD"), "{problem}");
    let right = Login { password: Some("secret".to_owned()), ..Login::default() };
    let link = Link::new(LinkOptions { login: right, ..locked.options() }, &Tasks::default());
    link.tried().await.expect("the user default is logged in by its password alone");
}

/// Several members whose every call is done with the listed rights.
#[tokio::test]
async fn the_listed_rights_suffice() {
    let server = with_acl(RIGHTS);
    let options = LinkOptions { login: login("usher", "secret"), ..server.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    let mut node = Node::on(link, "a", LONG);
    node.enter(true, RULES).await;
    node.read(&["grand-room-101-chat"]).await;
    let channel = SwappedChannel {
        key: keys().channel("joined", "grand-room-101-chat"),
        read: None,
        value: crate::cluster::Record::default().encode(1),
        lifetime: Duration::from_secs(60),
        publishes: false,
    };
    let swap = Swap { channels: vec![channel], ..Swap::default() };
    done(node.swap(swap).await);
    done(node.change(Action::Renew).await);
    let wait = redis::cmd("WAIT").arg(0).arg(1).to_owned();
    node.client.link().ask(&wait).await.expect("an answer");
    done(node.change(Action::Leave).await);
    assert_eq!(node.client.link().problem(), None);
    assert!(server.command(&["ACL", "LOG"]).starts_with("*0"), "{}", server.command(&["ACL", "LOG"]));
}

#[tokio::test]
async fn what_is_not_permitted_is_told_until_it_is() {
    let server = with_acl(&format!("{RIGHTS} -info"));
    let problem = found(&server, login("usher", "secret")).await;
    assert!(matches!(&problem, Problem::NotPermitted { command, .. } if command == "INFO"), "{problem:?}");

    let server = with_acl(&format!("{RIGHTS} -time"));
    let options = LinkOptions { login: login("usher", "secret"), ..server.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    let node = Node::on(link, "a", LONG);
    let failure = node.client.read(&keys(), &node.tenure, &[]).await.expect_err("a script needs TIME");
    assert!(matches!(failure, Failure::Redis(_)), "{failure:?}");
    let link = node.client.link();
    let text = link.problem().expect("a problem").to_string();
    assert!(text.contains("does not permit EVAL") && text.contains("ACL SETUSER"), "{text}");
    link.ask(redis::cmd("WAIT").arg(0).arg(1)).await.expect("this is permitted");
    assert!(link.problem().is_some(), "another command does not end it");
    server.command(&["ACL", "SETUSER", "usher", "+time"]);
    node.client.read(&keys(), &node.tenure, &[]).await.expect("an answer");
    node.client.read(&keys(), &node.tenure, &[]).await.expect("an answer");
    assert_eq!(link.problem(), None);
}

#[tokio::test]
async fn keys_of_others_are_not_permitted() {
    let server = with_acl(&RIGHTS.replace("{usher:*}", "{other:*}"));
    let options = LinkOptions { login: login("usher", "secret"), ..server.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    let node = Node::on(link, "a", LONG);
    node.client.read(&keys(), &node.tenure, &[]).await.expect_err("not its keys");
    let text = node.client.link().problem().expect("a problem").to_string();
    assert!(text.contains("key"), "{text}");
}

/// Lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_one_line_of_it() {
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = with_acl("~* +@all");
    let pause = Duration::from_millis(16);
    // An answer that comes too late would be another line.
    let timeout = Duration::from_secs(30);
    let options = LinkOptions { login: login("usher", "wrong"), max_pause: pause, timeout, ..server.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect_err("a problem");
    // Until it has tried some more times.
    server.await_answer(&["INFO", "stats"], "total_connections_received:1");
    while !(10..20).any(|count| server.command(&["ACL", "LOG", "1"]).contains(&format!("count\r\n:{count}\r\n"))) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.command(&["ACL", "SETUSER", "usher", ">wrong"]);
    assert!(link.connected().await);
    let log = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("the shared store cannot be used") && log.contains("refuses the login"), "{log}");
    assert_eq!(link.problem(), None);
}
