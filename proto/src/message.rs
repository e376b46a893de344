//! The messages. Their order, their meaning and their bytes are in `PROTOCOL.md`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Algorithm, Code, Digest, Header, RelPath, Secret, Wants, codec, limits};

/// The protocol version that this crate speaks.
pub const VERSION: u16 = 1;

/// One run of a program, over all its connections.
pub type RunId = [u8; 16];

/// Counts the offers of a request, from 0, without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// The versions that a side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

/// Opens a connection: client to server. Its first fields never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the client speaks.
    pub versions: Versions,
    /// The client's run.
    pub run: RunId,
    /// Program and version, for the log.
    pub agent: String,
    /// What the client's machine calls itself; a new client is enrolled under it.
    pub name: String,
    /// What came after version 1 and is understood here.
    pub features: Vec<u16>,
    /// Spends an invite: enrols the key that TLS has proved.
    pub invite: Option<Secret>,
}

/// Answers [`Hello`]: the session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version spoken from here on.
    pub version: u16,
    /// Program and version, for the log.
    #[serde(with = "codec::label")]
    pub agent: String,
    /// What the server's machine calls itself.
    #[serde(with = "codec::label")]
    pub name: String,
    /// Features of the client's that the server shares.
    #[serde(deserialize_with = "codec::list::<{ limits::FEATURES }, _, _>")]
    pub features: Vec<u16>,
    /// What the server takes.
    pub limits: Limits,
    /// What this client may do, as the server sees it.
    pub grant: GrantView,
}

/// What a receiver takes; never more than the limits of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Offers without a final answer.
    pub offers: u32,
    /// Bytes of one chunk.
    pub chunk: u32,
    /// Distance of checkpoints, in bytes.
    pub checkpoint: u64,
    /// The largest file, in bytes.
    pub file: u64,
}

/// A grant, as its client is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// The name that the server knows the client by.
    #[serde(with = "codec::label")]
    pub client: String,
    /// May send.
    pub put: bool,
    /// May read.
    pub get: bool,
    /// May list.
    pub list: bool,
    /// May replace what is there.
    pub overwrite: bool,
}

/// Ends a connection; the last frame of its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub code: Code,
    /// A sentence about it.
    #[serde(with = "codec::sentence")]
    pub detail: String,
}

/// What the client wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the client; answers to the request as a whole carry it.
    pub id: u32,
    /// The deed.
    pub verb: Verb,
}

/// The deeds a client can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// The client becomes the sender.
    Put(Put),
    /// The server becomes the sender.
    Get(Get),
    /// The same as a dry run: the server offers, and sends nothing.
    List(List),
    /// A deed that this version does not know; it is answered with [`Rejected`].
    Unknown(u16),
}

/// How a client wants to put files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// What to do where another file has the name.
    pub on_conflict: Conflict,
    /// Answer every offer, take nothing.
    pub dry_run: bool,
    /// How all digests of this request are made.
    pub digest: Algorithm,
}

/// What a client wants to get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// Each of these, and what is below it; none of them means everything.
    #[serde(deserialize_with = "codec::list::<{ limits::PATHS }, _, _>")]
    pub paths: Vec<RelPath>,
    /// How all digests of this request are made.
    pub digest: Algorithm,
    /// What else is to be told of each entry.
    pub wants: Wants,
}

/// What a client wants to know about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Each of these, and what is in it; none of them means everything.
    #[serde(deserialize_with = "codec::list::<{ limits::PATHS }, _, _>")]
    pub paths: Vec<RelPath>,
    /// How all digests of this request are made.
    pub digest: Algorithm,
    /// Also what is further below than directly in them.
    pub recursive: bool,
    /// Read every file anew, whatever is known of it.
    pub reread: bool,
    /// What else is to be told of each entry.
    pub wants: Wants,
}

/// What to do where a file with other content has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Conflict {
    /// The new file takes the name.
    Replace,
    /// Both stay: the new one is called `name (2).ending`.
    KeepBoth,
    /// The old one stays; for the client that is a failure, as `Fail` is.
    Skip,
    /// The old one stays, and that is an error.
    Fail,
}

/// The server will not do a [`Request`]; the session goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Which request.
    pub id: u32,
    /// Why.
    pub code: Code,
    /// A sentence about it.
    #[serde(with = "codec::sentence")]
    pub detail: String,
}

/// Something that was asked for and will not come: it does not exist, or cannot be read. From a server that sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What; nothing is the whole of what was asked for.
    pub path: Option<RelPath>,
    /// Why.
    pub code: Code,
    /// A sentence about it.
    #[serde(with = "codec::sentence")]
    pub detail: String,
}

/// The sender has this entry to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its number.
    pub seq: Seq,
    /// What it is.
    pub header: Header,
}

/// The receiver's first answer to the offer of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which offer.
    pub seq: Seq,
    /// What the receiver makes of it.
    pub answer: Answer,
}

/// What a receiver makes of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Send the body from this offset. Where the offset is not 0, `prefix` is the digest of the bytes before it;
    /// a sender whose bytes have another one starts from 0.
    Send {
        /// Where to begin, in bytes.
        offset: u64,
        /// The digest of everything before.
        prefix: Option<Digest>,
    },
    /// The name holds this already, with this digest, if it is a file. Final.
    Held {
        /// The file's digest.
        digest: Option<Digest>,
        /// Under which name, if it is another one than offered.
        path: Option<RelPath>,
    },
    /// A file of this size is there, under this name or one beside it: offer it again with its digest. Final for this offer.
    NeedDigest,
    /// No. Final.
    Refused {
        /// Why.
        code: Code,
        /// A sentence about it.
        #[serde(with = "codec::sentence")]
        detail: String,
    },
    /// In a dry run, in the place of everything that would be done: it would be taken. Final.
    Wanted {
        /// Nothing has its name so far.
        is_new: bool,
    },
}

/// The body of an offer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Which offer.
    pub seq: Seq,
    /// At which of its bytes: the verdict's offset, or 0.
    pub offset: u64,
}

/// The next bytes of the open body are zeros, and take no space where they come from: a piece, as a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Hole {
    length: u32,
}

impl Hole {
    /// Of so many bytes: no more than a chunk may have, so that whatever is done between two pieces is done as often.
    pub fn new(length: usize) -> Option<Self> {
        let length = u32::try_from(length).ok()?;
        (1..=limits::CHUNK).contains(&(length as usize)).then_some(Hole { length })
    }

    /// Its bytes.
    pub fn length(self) -> usize {
        self.length as usize
    }
}

impl From<Hole> for u32 {
    fn from(hole: Hole) -> u32 {
        hole.length
    }
}

impl TryFrom<u32> for Hole {
    type Error = &'static str;

    fn try_from(length: u32) -> Result<Self, &'static str> {
        Hole::new(length as usize).ok_or("a hole of no bytes, or of more than a chunk has")
    }
}

/// The body that was open is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The digest of the whole file, bytes before the offset included.
    pub digest: Digest,
}

/// A body that was asked for will not be completed: the open one, or one that has not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Which offer.
    pub seq: Seq,
    /// Why.
    pub code: Code,
}

/// It has arrived: synced, named, catalogued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which offer.
    pub seq: Seq,
    /// The digest of what was written, for a file.
    pub digest: Option<Digest>,
    /// Under which name, if it is another one than offered.
    pub path: Option<RelPath>,
}

/// It has not arrived, and no part of it can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which offer.
    pub seq: Seq,
    /// Why.
    pub code: Code,
    /// A sentence about it.
    #[serde(with = "codec::sentence")]
    pub detail: String,
}

/// This direction of the request is complete. An end of the stream before it is a cut, never success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// From the sender: offers made. From the receiver: offers answered with `Held` or `Receipt`.
    pub entries: u64,
    /// Body bytes that crossed the wire.
    pub bytes: u64,
}

/// A sign of life that asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back in the [`Pong`].
    pub token: u64,
}

/// Answers a [`Ping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's.
    pub token: u64,
}

/// What the receiver's time has gone into so far in this request, in microseconds, for people who ask what holds it up.
/// It may come at any time and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Writing bodies.
    pub disk: u64,
    /// Digesting them.
    pub hash: u64,
    /// Making them durable.
    pub sync: u64,
    /// Not reading from the stream, because the rest had not come so far.
    pub stalled: u64,
}

macro_rules! messages {
    ($($number:literal => $name:ident,)*) => {
        /// Any control message.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = concat!("See [`", stringify!($name), "`](struct@", stringify!($name), ").")] $name($name),)*
        }

        impl Message {
            /// The type of its frame.
            pub fn frame_type(&self) -> u8 {
                match self { $(Message::$name(_) => $number,)* }
            }

            pub(crate) fn encode_payload(&self, out: &mut Vec<u8>) {
                match self { $(Message::$name(message) => message.encode_into(out),)* }
            }

            pub(crate) fn decode_payload(frame_type: u8, payload: &[u8]) -> Result<Option<Message>, crate::DecodeError> {
                Ok(Some(match frame_type {
                    $($number => Message::$name(<$name as Payload>::decode_from(payload)?),)*
                    _ => return Ok(None),
                }))
            }
        }

        $(impl From<$name> for Message {
            fn from(message: $name) -> Message {
                Message::$name(message)
            }
        })*
    };
}

// 8 is the chunk, whose payload is raw bytes.
messages! {
    1 => Hello,
    2 => Welcome,
    3 => Goodbye,
    4 => Request,
    5 => Offer,
    6 => Verdict,
    7 => Body,
    9 => End,
    10 => Abort,
    11 => Receipt,
    12 => Failed,
    13 => Done,
    14 => Ping,
    15 => Pong,
    16 => Rejected,
    17 => Missing,
    18 => Hole,
    128 => Spent,
}

/// How a message becomes a payload: by serde, except for `Hello` with its prefix that stays for ever.
trait Payload: Sized {
    fn encode_into(&self, out: &mut Vec<u8>);
    fn decode_from(payload: &[u8]) -> Result<Self, crate::DecodeError>;
}

macro_rules! by_serde {
    ($($name:ident)*) => {
        $(impl Payload for $name {
            fn encode_into(&self, out: &mut Vec<u8>) {
                codec::encode(self, out);
            }

            fn decode_from(payload: &[u8]) -> Result<Self, crate::DecodeError> {
                codec::decode(payload)
            }
        })*
    };
}

by_serde! { Welcome Goodbye Request Offer Verdict Body End Abort Receipt Failed Done Ping Pong Rejected Missing Hole Spent }

/// `ferry`, a NUL, the oldest and the newest version (u16 LE each): what every version of the protocol begins with.
const HELLO_MAGIC: &[u8; 6] = b"ferry\0";

#[derive(Serialize, Deserialize)]
struct HelloBody {
    run: RunId,
    #[serde(with = "codec::label")]
    agent: String,
    #[serde(with = "codec::label")]
    name: String,
    #[serde(deserialize_with = "codec::list::<{ limits::FEATURES }, _, _>")]
    features: Vec<u16>,
    invite: Option<Secret>,
}

impl Payload for Hello {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(HELLO_MAGIC);
        out.extend_from_slice(&self.versions.oldest.to_le_bytes());
        out.extend_from_slice(&self.versions.newest.to_le_bytes());
        let Hello { run, agent, name, features, invite, .. } = self.clone();
        codec::encode(&HelloBody { run, agent, name, features, invite }, out);
    }

    fn decode_from(payload: &[u8]) -> Result<Self, crate::DecodeError> {
        let malformed = || crate::DecodeError::Malformed("not a ferry client".into());
        let rest = payload.strip_prefix(HELLO_MAGIC).ok_or_else(malformed)?;
        let (versions, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let [a, b, c, d] = *versions;
        let versions = Versions { oldest: u16::from_le_bytes([a, b]), newest: u16::from_le_bytes([c, d]) };
        let oldest_shared = versions.oldest.max(VERSION);
        if oldest_shared > versions.newest.min(VERSION) {
            // What follows belongs to a version that is not spoken here.
            return Ok(Hello::of_another_version(versions));
        }
        let HelloBody { run, agent, name, features, invite } = codec::decode(rest)?;
        Ok(Hello { versions, run, agent, name, features, invite })
    }
}

impl Hello {
    fn of_another_version(versions: Versions) -> Self {
        Hello {
            versions,
            run: [0; 16],
            agent: String::new(),
            name: String::new(),
            features: Vec::new(),
            invite: None,
        }
    }

    /// Whether its sender speaks [`VERSION`]; if not, only `versions` is filled in.
    pub fn is_spoken_here(&self) -> bool {
        (self.versions.oldest..=self.versions.newest).contains(&VERSION)
    }
}

impl Versions {
    /// What this crate speaks.
    pub fn ours() -> Self {
        Versions { oldest: VERSION, newest: VERSION }
    }
}

const PUT: u16 = 1;
const GET: u16 = 2;
const LIST: u16 = 3;

/// On the wire: id, the verb's number, then its arguments as a byte string, so that an unknown verb can be
/// passed over.
impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = Vec::new();
        let number = match &self.verb {
            Verb::Put(put) => {
                codec::encode(put, &mut arguments);
                PUT
            }
            Verb::Get(get) => {
                codec::encode(get, &mut arguments);
                GET
            }
            Verb::List(list) => {
                codec::encode(list, &mut arguments);
                LIST
            }
            Verb::Unknown(number) => *number,
        };
        (self.id, number, arguments).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, number, Arguments(arguments)) = <(u32, u16, Arguments)>::deserialize(deserializer)?;
        let verb = match number {
            PUT => codec::decode(&arguments).map(Verb::Put),
            GET => codec::decode(&arguments).map(Verb::Get),
            LIST => codec::decode(&arguments).map(Verb::List),
            other => Ok(Verb::Unknown(other)),
        };
        Ok(Request { id, verb: verb.map_err(serde::de::Error::custom)? })
    }
}

struct Arguments(Vec<u8>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        codec::byte_string(deserializer, limits::CONTROL).map(Arguments)
    }
}
