use super::{sight::Step, *};

fn concurrent(transactions: &str) -> Result<Trace, TraceError> {
    let text = format!(r#"{{"kind":"concurrent","endContent":"","numAgents":2,"txns":[{transactions}]}}"#);
    Trace::parse(text.as_bytes())
}

fn sequential(patches: &str) -> Result<Trace, TraceError> {
    Trace::parse(format!(r#"{{"startContent":"äö","endContent":"","txns":[{{"patches":[{patches}]}}]}}"#).as_bytes())
}

#[test]
fn a_patch_may_carry_its_time_and_nothing_more() {
    let trace = sequential(r#"[2,0,"x"],[0,1,"","2021-04-19T06:06:58.219Z"]"#).unwrap();
    let [first, second] = &trace.transactions[0].patches[..] else { panic!("two patches") };
    assert_eq!((first.position, first.inserted.as_str()), (2, "x"));
    assert_eq!((second.deleted, second.inserted.as_str()), (1, ""));
    assert!(matches!(sequential(r#"[0,0,"x",1,2]"#), Err(TraceError::Json(_))));
    assert!(matches!(sequential("[0,0]"), Err(TraceError::Json(_))));
    assert!(matches!(sequential(r#"[-1,0,"x"]"#), Err(TraceError::Json(_))));
}

#[test]
fn positions_count_scalar_values_and_stay_inside() {
    assert!(sequential(r#"[2,0,"x"]"#).is_ok());
    for outside in [r#"[3,0,"x"]"#, r#"[1,2,""]"#, r#"[18446744073709551615,1,""]"#, r#"[1,18446744073709551615,""]"#] {
        let error = sequential(outside).unwrap_err();
        assert!(matches!(error, TraceError::Position { transaction: 0, place: Place { length: 2, .. } }), "{error}");
    }
}

#[test]
fn agents_and_parents_must_exist() {
    let of =
        |agents: &str| Trace::parse(format!(r#"{{"kind":"concurrent","endContent":"",{agents}"txns":[]}}"#).as_bytes());
    for agents in ["", r#""numAgents":0,"#, r#""numAgents":65,"#, r#""numAgents":18446744073709551615,"#] {
        assert!(matches!(of(agents), Err(TraceError::Agents { .. })), "{agents}");
    }
    assert!(matches!(concurrent(r#"{"agent":2,"patches":[]}"#), Err(TraceError::Agent { agent: 2, .. })));
    for parents in ["0", "1", "18446744073709551615"] {
        let bad = concurrent(&format!(r#"{{"agent":0,"parents":[{parents}],"patches":[]}}"#));
        assert!(matches!(bad, Err(TraceError::Parent { transaction: 0, .. })));
    }
}

#[test]
fn an_agent_sees_its_own_work() {
    let forgets = concurrent(r#"{"agent":0,"patches":[]},{"agent":0,"patches":[]}"#);
    assert!(matches!(forgets, Err(TraceError::Forgets { transaction: 1, previous: 0, agent: 0 })));
    let through_another = concurrent(
        r#"{"agent":0,"patches":[]},{"agent":1,"parents":[0],"patches":[]},{"agent":0,"parents":[1],"patches":[]}"#,
    );
    assert!(through_another.is_ok());
}

#[test]
fn a_step_tells_what_is_new_and_drops_parents_under_others() {
    let trace = concurrent(
        r#"{"agent":0,"patches":[]},
           {"agent":1,"patches":[]},
           {"agent":1,"parents":[1],"patches":[]},
           {"agent":0,"parents":[0,1,2,2],"patches":[]},
           {"agent":0,"parents":[3,1],"patches":[]}"#,
    )
    .unwrap();
    let mut sight = Sight::new(&trace);
    assert_eq!(sight.step(0).unwrap(), Step::default());
    assert_eq!(sight.step(3).unwrap(), Step { parents: vec![0, 2], news: vec![1, 2] });
    assert_eq!(sight.step(4).unwrap(), Step { parents: vec![3], news: vec![] });
}

#[test]
fn garbage_is_an_error() {
    for garbage in [&b""[..], b"\0", b"{}", b"[]", b"{\"txns\":[]}", &[0x80; 64], &b"[".repeat(100_000)] {
        assert!(matches!(Trace::parse(garbage), Err(TraceError::Json(_))));
    }
    let kind = Trace::parse(br#"{"kind":"odd","endContent":"","txns":[]}"#);
    assert!(matches!(kind, Err(TraceError::Kind(_))));
}
