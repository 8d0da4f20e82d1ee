//! What is as large as it may be, and larger: nothing of it ends the shell.

use reveille_shell::Session;
use reveille_shell::parser::{NESTING_MAX, SCRIPT_BYTES_MAX};

use crate::world::World;

#[test]
fn what_is_nested_as_deep_as_it_may_be_is_carried_out() {
    let deepest = NESTING_MAX;
    for (open, inner, close, depth, expected) in [
        ("(", "1", ")", deepest, "1\n"),
        ("@(", "1", ")", deepest, "1\n"),
        ("$(", "1", ")", deepest, "1\n"),
        ("\"$(", "'x'", ")\"", deepest, "x\n"),
        ("!", "$true", "", deepest, "True\n"),
        ("[string]", "1", "", deepest, "1\n"),
        (",", "1", "", deepest, "1\n"),
        ("1 | % {", "1", "}", deepest, "1\n"),
        ("if ($true) {", "1", "}", deepest, "1\n"),
        ("foreach ($x in 1) {", "1", "}", deepest, "1\n"),
        ("@{ a = ", "1", "}.a", deepest, "1\n"),
        ("(1).ToString().Replace('1', ", "'1'", ")", deepest, "1\n"),
    ] {
        let nested = |depth: usize| open.repeat(depth) + inner + &close.repeat(depth);
        let (seen, status) = World::default().run(&nested(depth));
        assert_eq!((seen.as_str(), status), (expected, 0), "{open}");
        let (seen, status) = World::default().run(&nested(depth + 1));
        assert!(status == 1 && seen.contains("NestedTooDeep"), "{open}: {seen}");
    }
}

#[test]
fn what_is_long_is_not_deep() {
    let long = vec!["1"; 20_000];
    for (script, expected) in [
        (long.join(" + "), "20000"),
        (format!("({}).Count", long.join(",")), "20000"),
        (format!("'x'{}", ".Trim()".repeat(20_000)), "x"),
        (format!("if (0) {{ 0 }} {} else {{ 'last' }}", "elseif (0) { 0 } ".repeat(5_000)), "last"),
        (format!("1 {}", "| % { $_ } ".repeat(5_000)), "1"),
    ] {
        assert_eq!(World::default().run(&script), (format!("{expected}\n"), 0), "{}", &script[..40]);
    }
}

#[test]
fn too_long_a_script_is_not_read() {
    let (seen, status) = World::default().run(&" ".repeat(SCRIPT_BYTES_MAX + 1));
    assert!(status == 1 && seen.contains("ScriptTooLong"), "{seen}");
}

#[test]
fn values_do_not_grow_without_end() {
    for (script, id) in [
        ("$x = 'x' * 1mb; foreach ($n in 1..20) { $x = $x + $x }", "TextTooLong"),
        ("$x = 1..1000; foreach ($n in 1..20) { $x += $x }", "TooManyObjects"),
        ("$x = 1; foreach ($n in 1..100) { $x = ,$x }", "VariableNotWritable"),
        ("$h = @{}; foreach ($n in 1..100) { $h = @{ a = $h } }", "VariableNotWritable"),
        ("$x = 1..1000 | % { 1..1000 } | % { 1, 2 }", "TooManyObjects"),
    ] {
        let (seen, status) = World::default().run(script);
        assert!(status == 1 && seen.contains(id), "{script}: {seen}");
    }
}

#[test]
fn a_session_remembers_only_so_much() {
    let mut session = Session::new();
    let many: String = (0..5000).map(|number| format!("$v{number} = 1\n")).collect();
    let (seen, status) = World::default().run_in(&mut session, &many);
    assert!(status == 1 && seen.contains("at most 4096 variables"), "{}", &seen[..200]);
    let (seen, _) = World::default().run_in(&mut session, "$Error.Count");
    assert_eq!(seen, "256\n");
}

#[test]
fn variables_stay_from_line_to_line_and_questions_are_answered() {
    let mut session = Session::new();
    let mut world = World::default();
    world.typed = ["p.example.com", "$true"].map(String::from).to_vec();
    assert_eq!(world.run_in(&mut session, "$name = 'LyncOnline'").1, 0);
    let (seen, status) = world.run_in(&mut session, "New-CsHostingProvider $name");
    assert_eq!(status, 0, "{seen}");
    assert!(seen.contains("Supply values for the following parameters:\nEnabled: $true\nProxyFqdn: p.example.com\n"));
    assert!(
        seen.ends_with("{\"Enabled\":true,\"Identity\":\"LyncOnline\",\"ProxyFqdn\":\"p.example.com\"}\n"),
        "{seen}"
    );
    world.typed = ["no", "y", "?", "perhaps"].map(String::from).to_vec();
    let (seen, _) = world.run_in(&mut session, "Remove-CsAdminRole One; Remove-CsAdminRole Two");
    assert!(
        seen.matches("leave out this and all that follow").count() == 2
            && seen.contains("call Remove-CsAdminRole {\"Identity\":\"One\"}")
            && !seen.contains("{\"Identity\":\"Two\"}")
    );
}

#[test]
fn what_nobody_has_seen_while_it_was_typed_is_typed_twice() {
    let run = |typed: &[&str]| {
        let mut world = World::default();
        world.typed = typed.iter().rev().map(ToString::to_string).collect();
        world.run("Set-CsAdminPassword")
    };
    let (seen, status) = run(&["correct horse", "new password", "new password"]);
    assert!(status == 0 && seen.contains("OldPassword: \nNewPassword: \nNewPassword (again): \n"), "{seen}");
    assert!(seen.contains("call Set-CsAdminPassword"), "{seen}");
    let (seen, status) = run(&["correct horse", "new password", "new passwort"]);
    assert!(status == 1 && seen.contains("What was typed for NewPassword differs. Nothing was changed."), "{seen}");
    assert!(!seen.contains("call "), "{seen}");
}

#[test]
fn what_goes_along_is_not_held() {
    // More objects than any stage may hold, and the first of them is enough.
    let script = "$n = 0; 1..200 | % { 1..10000 } | ? { $_ -eq 9999 } | Select-Object -First 101 | % { $n += 1 }; $n";
    assert_eq!(World::default().run(script), ("101\n".to_owned(), 0));
}

#[test]
fn a_hundred_thousand_objects_are_worked_on_in_a_moment() {
    // Each would take minutes if an object were looked at by way of all the others.
    for (script, expected) in [
        ("$x = 1..100000; $sum = 0; foreach ($n in 0..99999) { $sum += $x[$n] }; $sum", "5000050000"),
        ("$x = 1..100000; $n = 0; 1..100000 | % { $n += $x.Count / 100000 }; $n", "100000"),
        ("(1..100000 | Select-Object -Index (0..99999)).Count", "100000"),
        (",(1..20000) | % { $_ | % { $_ } } | Select-Object -Last 1", "20000"),
        ("(1..100000 | Sort-Object -Descending | Select-Object -First 1)", "100000"),
        ("(1..100000 | % { @{ A = $_ % 10 } } | Group-Object A).Count", "10"),
    ] {
        let begun = std::time::Instant::now();
        assert_eq!(World::default().run(script), (format!("{expected}\n"), 0), "{script}");
        assert!(begun.elapsed().as_secs() < 60, "{script}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_object_of_a_block_is_never_the_one_before() {
    let mut session = Session::new();
    let many: String = (0..5000).map(|number| format!("$v{number} = 1\n")).collect();
    World::default().run_in(&mut session, &many);
    let (seen, status) = World::default().run_in(&mut session, "7 | % { $_ }");
    assert_eq!((seen.as_str(), status), ("7\n", 0), "however many variables there are");
    // What is too deep to be kept is said, and nothing is done to another object in its place.
    let script = "$x = 1; foreach ($n in 1..63) { $x = ,$x }; 'mine' | % { ,(,(,$x)) | % { Remove-CsAdminRole $_ } }";
    let (seen, status) = World::default().run(script);
    assert!(status == 1 && seen.contains("ValueTooDeep") && !seen.contains("call "), "{seen}");
}

#[test]
fn what_was_given_up_in_the_middle_leaves_no_object_behind() {
    use std::future::Future;
    let mut session = Session::new();
    let (world, mut terminal) = (World::default(), World::default());
    let mut running = Box::pin(session.run("'mine' | % { Start-Sleep 100 }", &world, &mut terminal));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let begun = runtime
        .block_on(std::future::poll_fn(|context| std::task::Poll::Ready(running.as_mut().poll(context).is_pending())));
    assert!(begun, "it sleeps");
    drop(running);
    let (seen, status) =
        World::default().run_in(&mut session, "\"<$_>\"; Get-Variable _ -ErrorAction SilentlyContinue");
    assert_eq!((seen.as_str(), status), ("<>\n", 0));
}
