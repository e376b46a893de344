//! Messages into bytes and back: those that there is one of for each file.

mod entries;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ferry_proto::{Answer, FrameHeader, Message, Offer, Receipt, Seq, Verdict};

/// Messages of a kind in one go.
const COUNT: u64 = 1000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    messages(&mut criterion, "offers", |number| {
        Offer { seq: Seq(number), header: entries::header(number) }.into()
    });
    messages(&mut criterion, "verdicts to send", |number| {
        Verdict { seq: Seq(number), answer: Answer::Send { offset: 0, prefix: None } }.into()
    });
    messages(&mut criterion, "verdicts of what is held", |number| {
        let answer = Answer::Held { digest: Some(entries::digest(number)), path: None };
        Verdict { seq: Seq(number), answer }.into()
    });
    messages(&mut criterion, "receipts", |number| {
        Receipt { seq: Seq(number), digest: Some(entries::digest(number)), path: None }.into()
    });
    criterion.final_summary();
}

fn messages(criterion: &mut Criterion, what: &str, make: impl Fn(u64) -> Message) {
    let messages: Vec<_> = (0..COUNT).map(make).collect();
    let mut frames = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut frames));
    let mut group = criterion.benchmark_group(what);
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("encode", |bencher| {
        let mut out = Vec::with_capacity(frames.len());
        bencher.iter(|| {
            out.clear();
            messages.iter().for_each(|message| message.encode(&mut out));
            out.len()
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut rest = &frames[..];
            while let Some((head, behind)) = rest.split_first_chunk() {
                let head = FrameHeader::parse(*head).expect("a good frame");
                let (payload, next) = behind.split_at(head.payload_len());
                black_box(head.message(payload).expect("a good message"));
                rest = next;
            }
        });
    });
    group.finish();
}
