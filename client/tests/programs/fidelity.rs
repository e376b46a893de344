//! A tree of everything awkward, sent and got back elsewhere; whether it is the same is for other programs to say.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, lchown, symlink},
    },
    path::Path,
    process::Command,
};

use rustix::fs::{XattrFlags, lsetxattr};

use crate::support::{
    Client, Server, is_root, left_out, noise, run, set_mode, set_modified, testdata, write,
};

const MIB: u64 = 1024 * 1024;

/// Runs another program, which must end well, and returns what it writes.
fn tool(program: &str, words: &[&str], paths: &[&Path]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(words).args(paths);
    run(command).code(0).stdout
}

fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Everything that has ever gone wrong on the way, as far as this user can make it.
fn awkward_tree(tree: &Path) {
    tool("cp", &["-a"], &[&testdata().join("awkward"), tree]);
    for name in [&b"latin-\xe9"[..], b"\xff\xfe", b"new\nline-\x80", b"-n", b" ", b"\\", b"...", b"*"] {
        write(tree.join("names").join(OsStr::from_bytes(name)), name);
    }
    modes_and_times(tree);
    links(tree);
    sparse_files(tree);
    attributes(tree);
    hard_links(tree);
    if is_root() {
        owners(tree);
    }
    // Folders come last, because everything that happens in them changes their times.
    for (number, folder) in (0..).zip(["names", "times", "modes", "bare/folder", "bare", "sparse", "."]) {
        set_modified(tree.join(folder), 1_000_000_000 + number, 123_456_789 - number);
    }
    // And what shuts them, after that.
    set_mode(tree.join("bare/folder"), 0o500);
    set_mode(tree.join("bare"), 0o555);
    if is_root() {
        set_mode(tree.join("modes/shut"), 0o000);
    }
}

fn modes_and_times(tree: &Path) {
    fs::create_dir_all(tree.join("bare/folder")).unwrap();
    for mode in
        [0o000, 0o111, 0o222, 0o444, 0o400, 0o600, 0o644, 0o755, 0o777, 0o1644, 0o2755, 0o4711, 0o7777]
    {
        // What it may not read itself, somebody who is not root cannot send; setuid and its like only root gets back.
        if is_root() || mode & 0o7400 == 0o400 {
            set_mode(write(tree.join(format!("modes/{mode:o}")), noise(1000, mode.into())), mode);
        }
    }
    if is_root() {
        write(tree.join("modes/shut/in"), "x");
    }
    let times =
        [(0, 0), (-1, 999_999_999), (-1_500_000_000, 1), (1_700_000_000, 999_999_999), (7_258_118_400, 5)];
    for (number, (seconds, nanos)) in (0..).zip(times) {
        set_modified(write(tree.join(format!("times/{number}")), [number]), seconds, nanos);
    }
}

fn links(tree: &Path) {
    let long = "deep/".repeat(500);
    let targets = ["/etc/passwd", "nowhere/at all", "../../../outside", ".", "names/latin", "a\nb", &long];
    for (number, target) in (0..).zip(targets) {
        let link = tree.join(format!("link-{number}"));
        symlink(target, &link).unwrap();
        set_modified(&link, 900_000_000 + number, 17);
    }
    symlink(OsStr::from_bytes(b"\xe9\xff"), tree.join("link-odd")).unwrap();
}

fn sparse_files(tree: &Path) {
    fs::create_dir(tree.join("sparse")).unwrap();
    let layouts: [(&str, u64, &[u64]); 5] = [
        ("start", 10 * MIB, &[10 * MIB - 4096]),
        ("middle", 70 * MIB, &[0, 35 * MIB, 70 * MIB - 4096]),
        ("end", 40 * MIB, &[0]),
        ("whole", 33 * MIB + 1, &[]),
        ("comb", 2 * MIB, &[0, 16 * 4096, 18 * 4096, 20 * 4096, 200 * 4096]),
    ];
    for (name, size, data) in layouts {
        let file = File::create(tree.join("sparse").join(name)).unwrap();
        file.set_len(size).unwrap();
        for &at in data {
            file.write_all_at(&noise(4096, at), at).unwrap();
        }
        file.sync_all().unwrap();
    }
}

fn attributes(tree: &Path) {
    let (file, folder) = (write(tree.join("attributes/file"), "x"), tree.join("attributes/folder"));
    let large = write(tree.join("attributes/large"), noise(MIB as usize, 3));
    fs::create_dir(&folder).unwrap();
    for path in [&file, &folder, &large, &tree.join("modes/444")] {
        // Its owner has to be able to write what is not root's.
        let before = fs::metadata(path).unwrap().permissions();
        set_mode(path, 0o700);
        set(path, "user.empty", b"");
        set(path, "user.binary", &noise(500, 9));
        set(path, "user.name with \u{e9} and\n", b"\0");
        fs::set_permissions(path, before).unwrap();
    }
    // Some more than one is allowed by the mode alone; the mask is one of its bits.
    tool("setfacl", &["-m", "u:12345:rwx,g:54321:r,m::rx"], &[&file]);
    tool("setfacl", &["-m", "u:12345:rwx,d:u:12345:rx,d:g::r"], &[&folder]);
    if is_root() {
        set(&file, "trusted.of root", b"1");
        // cap_net_bind_service, permitted and effective.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set(&large, "security.capability", &capability);
        symlink("file", tree.join("attributes/link")).unwrap();
        set(&tree.join("attributes/link"), "trusted.of a link", b"2");
    }
}

fn hard_links(tree: &Path) {
    fs::create_dir_all(tree.join("names/deep/er")).unwrap();
    let linked = [
        ("sparse/middle", "names/deep/er/middle"),
        ("sparse/middle", "sparse/middle, too"),
        ("attributes/file", "attributes/file, too"),
        ("times/2", "modes/time"),
        ("executable.sh", "names/deep/executable.sh"),
    ];
    for (file, name) in linked {
        fs::hard_link(tree.join(file), tree.join(name)).unwrap();
    }
}

fn owners(tree: &Path) {
    fs::create_dir(tree.join("owners")).unwrap();
    for (number, mode) in (100_000..).zip([0o644, 0o4755, 0o2711, 0o6400]) {
        let file = write(tree.join(format!("owners/{number}")), noise(300_000, number.into()));
        lchown(&file, Some(number), Some(number + 7)).unwrap();
        set_mode(&file, mode);
    }
    symlink("100000", tree.join("owners/link")).unwrap();
    lchown(tree.join("owners/link"), Some(100_001), Some(3)).unwrap();
    fs::create_dir(tree.join("owners/shared")).unwrap();
    lchown(tree.join("owners/shared"), Some(1), Some(2)).unwrap();
    set_mode(tree.join("owners/shared"), 0o3777);
}

/// What `find` says of everything in a tree, in order.
fn found(tree: &Path) -> Vec<String> {
    let print = |which: &[&str], format: &str| {
        let mut words = vec![".".as_ref()];
        words.extend(which.iter().map(OsStr::new));
        words.extend(["-printf", format].map(OsStr::new));
        let mut command = Command::new("find");
        command.args(words).current_dir(tree);
        run(command).code(0).stdout
    };
    // Bytes and blocks of a folder are its file system's own; blocks of small files too.
    let everything = [
        print(&["-type", "d"], "%P %y %m %T@ %U %G\\0"),
        print(&["!", "-type", "d"], "%P %y %m %s %T@ %U %G %n -> %l\\0"),
        print(&["-path", "./sparse/*"], "%P takes %b\\0"),
    ];
    let mut found: Vec<String> = everything
        .iter()
        .flat_map(|all| all.split(|&byte| byte == 0))
        .map(|line| ferry_proto::escape::bytes(line).to_string())
        .collect();
    found.sort();
    found
}

/// What `rsync` would still have to do to make one tree like the other.
fn rsync_would(flags: &str, source: &Path, back: &Path) -> String {
    let mut command = Command::new("rsync");
    // With nothing behind its last `/`, a path means what is in it.
    command.args([flags, "--delete"]).args([source.join(""), back.join("")]);
    String::from_utf8_lossy(&run(command).code(0).stdout).into_owned()
}

#[test]
fn an_awkward_tree_comes_back_as_other_programs_see_it() {
    let server = Server::start();
    let client = Client::paired(&server);
    let [source, to] = ["tree", "back"].map(|name| server.beside().join(name));
    if !is_root() {
        left_out(
            "owners, setuid and its like, what its owner may not read, and the attributes that only root can set",
        );
    }
    awkward_tree(&source);
    // Only root can give files to others, or tell rsync to look at what only root can set.
    let (all, rsync): (&[&str], _) = match is_root() {
        true => (&["--hard-links", "--xattrs", "--owner"], "-naHAXci"),
        false => (&["--hard-links", "--xattrs"], "-nrlptHAXci"),
    };
    let get = || client.ferry("get").arg("box:").arg(&to).args(all);
    client.send(&source).args(all).run().code(0);
    get().run().code(0);
    let back = to.join("tree");
    let (before, after) = (found(&source), found(&back));
    assert!(before.len() > 90, "the tree is not what it is taken for: {before:?}");
    let differences: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    assert!(before == after, "find sees differences in {differences:#?}");
    assert_eq!(rsync_would(rsync, &source, &back), "");
    // It would tell: of a time, of an attribute, of a list, of a file too many.
    set_modified(back.join("times/0"), 1, 1);
    set(&back.join("attributes/large"), "user.empty", b"no more");
    tool("setfacl", &["-b"], &[&back.join("attributes/file")]);
    write(back.join("names/too many"), "x");
    let told = rsync_would(rsync, &source, &back);
    for name in ["times/0", "attributes/large", "attributes/file", "names/too many"] {
        assert!(told.contains(name), "rsync does not see {name}: {told}");
    }
    // And what was changed comes back once more.
    fs::remove_file(back.join("names/too many")).unwrap();
    get().run().code(0);
    assert_eq!(rsync_would(rsync, &source, &back), "");
    open_again(&[&source, &back]);
}

/// So that it can be removed.
fn open_again(trees: &[&Path]) {
    for tree in trees {
        for folder in ["bare", "bare/folder"] {
            set_mode(tree.join(folder), 0o700);
        }
    }
}
