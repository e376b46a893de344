//! What is promised to scripts: every object that a test looks at is held to `docs/output.schema.json`.

use std::{collections::HashMap, sync::LazyLock};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The definitions for the lines of each command.
const COMMANDS: [(&str, &str); 9] = [
    ("send", "transfer"),
    ("get", "transfer"),
    ("ls", "listing"),
    ("verify", "comparison"),
    ("discover", "discovered"),
    ("doctor", "finding"),
    ("clients", "client"),
    ("log", "arrival"),
    ("scrub", "scrubbed"),
];

static VALIDATORS: LazyLock<HashMap<&str, Validator>> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/output.schema.json"))
        .expect("the schema is JSON");
    let validator = |definition: &str| {
        let mut schema = schema.clone();
        schema["$ref"] = json!(format!("#/$defs/{definition}"));
        jsonschema::validator_for(&schema).expect("the schema is one")
    };
    COMMANDS.into_iter().map(|(command, definition)| (command, validator(definition))).collect()
});

/// Says what is wrong with an object that a command line has written.
pub(crate) fn fault(command_line: &str, object: &Value) -> Option<String> {
    let mut words = command_line.split(' ').map(|word| word.trim_matches('"'));
    let validator = words.find_map(|word| VALIDATORS.get(word))?;
    validator.iter_errors(object).next().map(|error| error.to_string())
}
