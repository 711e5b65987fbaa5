//! What a script needs to speak with Penstock: memory, JSON, and the macro `script!`, which exports a function as docs/script.md describes.
//!
//! Copy this file beside yours. It needs neither std nor another crate, so that a script is a few kilobytes.

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

/// A value of JSON. Objects keep the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// Why a script refuses a message: a code of Penstock (invalid, notFound, conflict, unprocessable …), and why.
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Refusal { code: "unprocessable", message }
    }
}

impl From<&str> for Refusal {
    fn from(message: &str) -> Self {
        Refusal { code: "unprocessable", message: message.into() }
    }
}

impl Value {
    /// The value of a key; None if there is none, or this is no object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a key, or a refusal that names it.
    pub fn text(&self, key: &str) -> Result<&str, Refusal> {
        match self.get(key) {
            Some(Value::Text(s)) => Ok(s),
            Some(_) => Err(Refusal::new("invalid", format!("{key} is no text"))),
            None => Err(Refusal::new("invalid", format!("{key} is missing"))),
        }
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Int(v)
    }
}
impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Value::Float(v)
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Value::Text(v)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::Text(v.into())
    }
}

/// An object: `object([("score", 0.5.into())])`.
pub fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(k, v)| (k.into(), v)).collect())
}

/// Exports a function `fn(Value) -> Result<Value, Refusal>` as the script's `run`.
#[macro_export]
macro_rules! script {
    ($function:path) => {
        #[no_mangle]
        pub extern "C" fn run(at: *mut u8, len: usize) -> u64 {
            $crate::penstock::run(at, len, $function)
        }
    };
}

/// What `script!` calls.
pub fn run(at: *mut u8, len: usize, function: fn(Value) -> Result<Value, Refusal>) -> u64 {
    // Safety: Penstock has written len bytes to what `alloc` gave it.
    let input = unsafe { core::slice::from_raw_parts(at, len) };
    let mut out = String::new();
    let mut failed = 0;
    match parse(input).and_then(function) {
        Ok(v) => write(&mut out, &v),
        Err(e) => {
            failed = 1 << 31;
            write(&mut out, &object([("code", e.code.into()), ("message", e.message.into())]));
        }
    }
    let out = out.leak();
    (out.as_ptr() as u64) << 32 | out.len() as u64 | failed
}

/// Gives memory for the input.
#[no_mangle]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    // Safety: the layout is valid for every length that wasm32 knows.
    unsafe { alloc::alloc::alloc(Layout::from_size_align_unchecked(len.max(1), 8)) }
}

/// Memory is taken and never given back: each message has an instance of its own.
struct Bump(UnsafeCell<(usize, usize)>); // the next free byte, and the end

// Safety: a script has one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static MEMORY: Bump = Bump(UnsafeCell::new((0, 0)));

const PAGE: usize = 65536;

// Safety: every allocation is a part of memory that no other one has.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (next, end) = unsafe { &mut *self.0.get() };
        let at = (*next + layout.align() - 1) & !(layout.align() - 1);
        if *next == 0 || at + layout.size() > *end {
            let pages = (layout.size() + layout.align()).div_ceil(PAGE);
            let begin = core::arch::wasm32::memory_grow(0, pages);
            if begin == usize::MAX {
                return core::ptr::null_mut();
            }
            if begin * PAGE != *end || *next == 0 {
                *next = begin * PAGE; // somebody else has grown it
            }
            *end = (begin + pages) * PAGE;
            let at = (*next + layout.align() - 1) & !(layout.align() - 1);
            *next = at + layout.size();
            return at as *mut u8;
        }
        *next = at + layout.size();
        at as *mut u8
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

/// Reads JSON (RFC 8259).
pub fn parse(text: &[u8]) -> Result<Value, Refusal> {
    let mut r = Reader { text, at: 0 };
    let v = r.value(0)?;
    r.space();
    if r.at < text.len() {
        return r.wrong();
    }
    Ok(v)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

const DEEPEST: usize = 128;

impl Reader<'_> {
    fn wrong<T>(&self) -> Result<T, Refusal> {
        Err(Refusal::new("invalid", format!("no JSON at byte {}", self.at)))
    }

    fn peek(&self) -> u8 {
        *self.text.get(self.at).unwrap_or(&0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, v: Value) -> Result<Value, Refusal> {
        if self.text[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(v);
        }
        self.wrong()
    }

    fn value(&mut self, depth: usize) -> Result<Value, Refusal> {
        if depth > DEEPEST {
            return self.wrong();
        }
        self.space();
        match self.peek() {
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'"' => Ok(Value::Text(self.string()?)),
            b'[' => {
                let mut list = Vec::new();
                self.each(b']', |r| {
                    list.push(r.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Value::List(list))
            }
            b'{' => {
                let mut map = Vec::new();
                self.each(b'}', |r| {
                    r.space();
                    if r.peek() != b'"' {
                        return r.wrong();
                    }
                    let key = r.string()?;
                    r.space();
                    if r.peek() != b':' {
                        return r.wrong();
                    }
                    r.at += 1;
                    map.push((key, r.value(depth + 1)?));
                    Ok(())
                })?;
                Ok(Value::Map(map))
            }
            _ => self.number(),
        }
    }

    /// Reads what stands between brackets, with commas between.
    fn each(&mut self, close: u8, mut one: impl FnMut(&mut Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.at += 1;
        self.space();
        if self.peek() == close {
            self.at += 1;
            return Ok(());
        }
        loop {
            one(self)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                c if c == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.wrong(),
            }
        }
    }

    fn number(&mut self) -> Result<Value, Refusal> {
        let begin = self.at;
        while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            self.at += 1;
        }
        let text = core::str::from_utf8(&self.text[begin..self.at]).unwrap_or("");
        if let Ok(n) = text.parse() {
            return Ok(Value::Int(n));
        }
        match text.parse() {
            Ok(f) => Ok(Value::Float(f)),
            Err(_) => self.wrong(),
        }
    }

    fn string(&mut self) -> Result<String, Refusal> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let begin = self.at;
            while !matches!(self.peek(), b'"' | b'\\' | 0..=31) {
                self.at += 1;
            }
            match core::str::from_utf8(&self.text[begin..self.at]) {
                Ok(s) => out.push_str(s),
                Err(_) => return self.wrong(),
            }
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return self.wrong(),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Refusal> {
        self.at += 2;
        match self.text.get(self.at - 1) {
            Some(b'n') => Ok('\n'),
            Some(b't') => Ok('\t'),
            Some(b'r') => Ok('\r'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(&c @ (b'"' | b'\\' | b'/')) => Ok(c as char),
            Some(b'u') => {
                let mut code = self.hex()?;
                if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex()?;
                    code = 0x10000 + ((code - 0xd800) << 10) + (low & 0x3ff);
                }
                Ok(char::from_u32(code).unwrap_or('\u{fffd}'))
            }
            _ => self.wrong(),
        }
    }

    fn hex(&mut self) -> Result<u32, Refusal> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|d| core::str::from_utf8(d).ok());
        match digits.and_then(|d| u32::from_str_radix(d, 16).ok()) {
            Some(n) => {
                self.at += 4;
                Ok(n)
            }
            None => self.wrong(),
        }
    }
}

/// Writes JSON.
pub fn write(out: &mut String, v: &Value) {
    match v {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&format!("{n}")),
        Value::Float(f) if f.is_finite() => out.push_str(&format!("{f:?}")),
        Value::Float(_) => out.push_str("null"),
        Value::Text(s) => quote(out, s),
        Value::List(list) => {
            out.push('[');
            for (i, v) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, v);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, (k, v)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                quote(out, k);
                out.push(':');
                write(out, v);
            }
            out.push('}');
        }
    }
}

fn quote(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
