//! `relay.meta`: the second argument.

use std::time::Duration;

use serde_json::{Value, json};

use super::{META, apart, heard, heard_until_now, join, sends, told};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, within};

#[tokio::test]
async fn it_says_what_was_sent_by_whom_to_which_team_and_when() {
    let sidecar = Sidecar::start(META).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let before = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let payload = r#"[ 1.0 , {"b":1, "a":12345678901234567890} ]"#;
    let ids = sends(&mut ann, &[payload, "null"]).await;
    let (first, second) = (heard(&mut ann).await, heard(&mut ann).await);
    assert_eq!((&*first.0, &*second.0), (payload, "null"), "byte for byte");
    for (at, (_, meta)) in [&first, &second].into_iter().enumerate() {
        let keys: Vec<&String> = meta.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["actor", "at", "id", "seq", "team"]);
        assert_eq!(meta["id"], ids[at]);
        assert_eq!(meta["seq"], at + 1);
        assert_eq!((&meta["team"], &meta["actor"]), (&json!("red"), &json!("ann")));
        let at = meta["at"].as_str().unwrap();
        assert!(at.len() == before.len() && at >= &*before, "{at} {before}");
        humantime::parse_rfc3339(at).unwrap();
    }
    // What goes through the library is the same.
    for expected in [first, second] {
        assert_eq!(apart(&ben.packet().await.unwrap()).unwrap(), expected);
    }
}

#[tokio::test]
async fn without_it_an_event_has_one_argument() {
    let sidecar = Sidecar::start("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    sends(&mut ann, &["[ 1 ]"]).await;
    assert_eq!(ann.packet().await.unwrap(), r#"2["database-changed",[ 1 ]]"#);
    assert_eq!(ben.packet().await.unwrap(), r#"2["database-changed",[1]]"#.replace("[1]", "[ 1 ]"));
}

#[tokio::test]
async fn each_team_has_its_own_numbers_and_nobody_is_told_of_another_team() {
    let sidecar = Sidecar::start(&format!("{META}[rooms]\nmulti_team = \"all\"\n")).await;
    let mut ann = join(&sidecar, "ann", &["red", "blue"]).await;
    let mut red = join(&sidecar, "ron", &["red"]).await;
    let mut blue = join(&sidecar, "bea", &["blue"]).await;
    sends(&mut red, &["1", "2"]).await;
    sends(&mut ann, &["3"]).await;
    sends(&mut blue, &["4"]).await;
    let (in_red, in_blue) = (heard_until_now(&mut red).await, heard_until_now(&mut blue).await);
    assert_eq!(told(&in_red), [("1", 1), ("2", 2), ("3", 3)]);
    assert_eq!(told(&in_blue), [("3", 1), ("4", 2)]);
    assert!(in_red.iter().all(|(_, meta)| meta["team"] == "red"));
    assert!(in_blue.iter().all(|(_, meta)| meta["team"] == "blue"));
    // Who is in both hears it once, through one of them.
    let both = heard_until_now(&mut ann).await;
    let payloads: Vec<&str> = both.iter().map(|(payload, _)| &**payload).collect();
    assert_eq!(payloads, ["1", "2", "3", "4"]);
    for (_, meta) in &both {
        let same = |(_, other): &&(String, Value)| other["id"] == meta["id"] && other["team"] == meta["team"];
        let through = in_red.iter().chain(&in_blue).find(same).unwrap();
        assert_eq!(&through.1, meta);
    }
}

#[tokio::test]
async fn nobody_who_was_asked_acted_where_nobody_is_asked() {
    let sidecar = Sidecar::start(&format!("{META}[auth]\nmode = \"off\"\n")).await;
    let mut ann = RawSocket::join(sidecar.public, &Value::Null).await;
    sends(&mut ann, &["1"]).await;
    let (_, meta) = heard(&mut ann).await;
    assert_eq!((&meta["team"], &meta["actor"]), (&json!("*"), &Value::Null));
}

#[tokio::test]
async fn what_has_waited_is_numbered_when_it_is_relayed() {
    let settings = format!("{META}[events.database-change]\npayload = \"typed\"\n");
    let window = Some(Duration::from_secs(3600));
    let mut sidecar = Sidecar::start_with(&settings, |policy| policy.relay.coalesce = window).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let updated = |task: u32| format!(r#"{{"type":"task-updated","taskId":{task}}}"#);
    let ids = sends(&mut ann, &[&updated(1), &updated(2), &updated(1)]).await;
    sidecar.stop();
    let packets = within("the end", ann.closed()).await;
    let heard: Vec<_> = packets.iter().filter_map(|packet| apart(packet)).collect();
    assert_eq!(told(&heard), [(&*updated(2), 1), (&*updated(1), 2)]);
    assert_eq!((&heard[0].1["id"], &heard[1].1["id"]), (&json!(ids[1]), &json!(ids[2])));
}
