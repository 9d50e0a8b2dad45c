use std::time::Instant;
fn main() {
    let mut v = vec![];
    let mut w = vec![];
    for _ in 0..100 {
        let plan = daemonry::LaunchPlan {
            arguments: vec!["sleep".into(), "0.3".into()],
            ..daemonry::LaunchPlan::new("/bin/sleep")
        };
        let a = Instant::now();
        daemonry::launch(&plan).unwrap();
        v.push(a.elapsed());
        let a = Instant::now();
        let mut c = std::process::Command::new("/bin/sleep").arg("0").spawn().unwrap();
        w.push(a.elapsed());
        c.wait().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    v.sort();
    w.sort();
    println!("launch {:?} command {:?}", v[50], w[50]);
}
