//! How a client and a server get to know each other.

use crate::support::{Client, Server, assert_same_file, names, write};

#[test]
fn a_link_as_an_argument_on_standard_input_or_at_the_prompt_pairs() {
    let server = Server::start();
    let file = write(server.beside().join("source/file"), "content");
    for (number, (argument, stdin)) in [(true, ""), (false, "-"), (false, "")].into_iter().enumerate() {
        let client = Client::new();
        let link = server.invite();
        let ferry = client.ferry("pair").args(["--as", "nas"]);
        let ferry = match (argument, stdin) {
            (true, _) => ferry.arg(&link),
            (false, "-") => ferry.arg("-").stdin(format!("{link}\n")),
            _ => ferry.stdin(format!("{link}\n")),
        };
        let paired = ferry.run().code(0).says("`nas`");
        assert_eq!(paired.stdout(), "", "what is said to people is no data");
        let name = format!("file-{number}");
        client.ferry("send").arg(&file).args(["nas", "--name", &name]).run().code(0);
        assert_same_file(&file, &server.inbox().join(name));
    }
    assert_eq!(names(server.inbox()), ["file-0", "file-1", "file-2"]);
}
