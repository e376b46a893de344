//! What goes where: sources, places and names.

use crate::support::{Client, Server, assert_same_tree, write};

#[test]
fn a_file_and_a_folder_arrive_under_their_names() {
    let server = Server::start();
    let client = Client::paired(&server);
    let source = server.beside().join("source");
    write(source.join("folder/a"), "a");
    write(source.join("folder/below/b"), "b");
    write(source.join("file"), "file");
    client.ferry("send").args([source.join("folder"), source.join("file")]).arg("box").run().code(0);
    assert_same_tree(&source.join("folder"), &server.inbox().join("folder"));
    assert_same_tree(&source.join("file"), &server.inbox().join("file"));
    assert_eq!(server.names(), ["file", "folder", "folder/a", "folder/below", "folder/below/b"]);
}
