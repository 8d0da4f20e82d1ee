//! Callers and callees whose connection is gone, and who are back on another or are not.

use super::*;

#[test]
fn a_caller_who_is_back_in_time_on_another_connection_hears_what_was_said_meanwhile() {
    // What was said before, while it was away, and what it hears when it is back.
    let table: &[(&[u16], &[u16], &str)] = &[
        (&[], &[], ""),
        (&[180], &[], "up 180"),
        (&[180], &[183], "up 183"),
        (&[180], &[183, 200], "up 200"),
        (&[180], &[200, 200], "up 200"),
        (&[180], &[486], "up 486"),
        (&[180, 486], &[], "up 486"),
        (&[180, 200], &[], ""),
        (&[180, 200], &[200], "up 200"),
    ];
    for (before, meanwhile, back) in table {
        let mut story = Story::calling(ONE);
        before.iter().for_each(|status| drop(story.hears(0, *status)));
        story.context.on_upstream_away(story.now);
        assert!(story.context.is_upstream_away());
        for status in *meanwhile {
            assert!(!story.hears(0, *status).contains("up"), "{before:?} {meanwhile:?}");
        }
        assert_eq!(story.passes(9_999).replace("up 100", ""), "", "{before:?} {meanwhile:?}");
        let heard = story.returns();
        assert_eq!(heard.replace("up 100", ""), *back, "{before:?} {meanwhile:?}");
        assert_eq!(story.returns(), "", "once");
        if !before.iter().chain(*meanwhile).any(|status| *status >= 200) {
            assert_eq!(story.hears(0, 200), "up 200", "{before:?} {meanwhile:?}: the call goes on");
        }
    }
    let mut other = Story::taken("BYE", Reliability::Reliable, "");
    other.forward(ONE, Reliability::Reliable);
    other.context.on_upstream_away(other.now);
    other.hears(0, 200);
    assert!(!other.context.is_over(), "it is kept for whoever sent the request");
    assert_eq!(other.returns(), "up 200");
    assert!(other.context.is_over());
}

#[test]
fn a_caller_who_is_not_back_in_time_has_hung_up() {
    let mut story = Story::calling(ONE);
    story.hears(0, 180);
    story.context.on_upstream_away(story.now);
    assert_eq!(story.context.next_deadline(), Some(Millis(10_000)));
    assert_eq!(story.waits(), "0:CANCEL");
    assert_eq!(story.returns(), "", "too late");
    assert_eq!(story.hears(0, 487), "0:ACK");
    assert!(story.context.is_over());
    let mut accepted = Story::calling(ONE);
    accepted.hears(0, 180);
    accepted.context.on_upstream_away(accepted.now);
    assert_eq!(accepted.hears(0, 200), "");
    assert_eq!(accepted.passes(10_000), "", "a call that was accepted cannot be cancelled any more");
    assert!(accepted.context.is_over());
    let mut other = Story::taken("BYE", Reliability::Reliable, "");
    other.forward(ONE, Reliability::Reliable);
    other.context.on_upstream_away(other.now);
    assert_eq!(other.passes(10_000), "");
    assert!(other.context.is_over());
}

#[test]
fn a_callee_whose_connection_is_gone_while_it_rings_may_answer_on_another() {
    let mut story = Story::calling(ONE);
    story.hears(0, 180);
    assert_eq!(story.parted(0), "");
    assert_eq!(story.passes(9_999).replace("up 100", ""), "");
    assert_eq!(story.hears(0, 200), "up 200");
    let mut lost = Story::calling(ONE);
    lost.hears(0, 180);
    lost.parted(0);
    assert_eq!(lost.passes(10_000), "up 500");
    assert!(lost.context.on_ack(lost.now).is_empty() && lost.context.is_over());
    let mut cancelled = Story::calling(ONE);
    cancelled.hears(0, 180);
    cancelled.parted(0);
    assert_eq!(cancelled.cancelled(), "", "there is nobody to be told");
    assert_eq!(cancelled.passes(10_000), "up 487", "whoever has hung up hears that it has");
    let mut back = Story::calling(ONE);
    back.hears(0, 180);
    back.parted(0);
    back.cancelled();
    assert_eq!(back.hears(0, 180), "up 180, 0:CANCEL");
    assert_eq!(back.hears(0, 487), "0:ACK, up 487");
}
