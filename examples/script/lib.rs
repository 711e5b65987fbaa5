//! How alike two names are: the similarity of Jaro and Winkler, from 0 to 1. It is the kind of thing that no expression should be
//! bent to: loops over letters, with marks.
#![no_std]

extern crate alloc;

#[macro_use]
pub mod penstock;

use alloc::{string::String, vec, vec::Vec};
use penstock::{object, Refusal, Value};

script!(score);

/// Takes `{ a, b }`, two names, and gives `{ score, same }`.
fn score(input: Value) -> Result<Value, Refusal> {
    let (a, b) = (letters(input.text("a")?), letters(input.text("b")?));
    if a.is_empty() || b.is_empty() {
        return Err("a name without letters is like no other".into());
    }
    let score = similarity(&a, &b);
    Ok(object([("score", ((score * 1000.0 + 0.5) as i64 as f64 / 1000.0).into()), ("same", (score >= 0.92).into())]))
}

/// The letters and digits of a name, small, with the accents of western languages taken off.
fn letters(name: &str) -> Vec<char> {
    let small: String = name.to_lowercase();
    let mut out = Vec::new();
    for c in small.chars().filter(|c| c.is_alphanumeric()) {
        match c {
            'à'..='å' => out.push('a'),
            'ç' => out.push('c'),
            'è'..='ë' => out.push('e'),
            'ì'..='ï' => out.push('i'),
            'ñ' => out.push('n'),
            'ò'..='ö' | 'ø' => out.push('o'),
            'ù'..='ü' => out.push('u'),
            'ß' => out.extend(['s', 's']),
            'æ' => out.extend(['a', 'e']),
            c => out.push(c),
        }
    }
    out
}

fn similarity(a: &[char], b: &[char]) -> f64 {
    let reach = (a.len().max(b.len()) / 2).saturating_sub(1);
    let (mut in_a, mut in_b) = (vec![false; a.len()], vec![false; b.len()]);
    let mut matches = 0;
    for i in 0..a.len() {
        let from = i.saturating_sub(reach);
        let to = (i + reach + 1).min(b.len());
        for j in from..to {
            if !in_b[j] && a[i] == b[j] {
                (in_a[i], in_b[j]) = (true, true);
                matches += 1;
                break;
            }
        }
    }
    if matches == 0 {
        return 0.0;
    }
    let order_a = a.iter().zip(&in_a).filter(|(_, m)| **m).map(|(c, _)| c);
    let order_b = b.iter().zip(&in_b).filter(|(_, m)| **m).map(|(c, _)| c);
    let moved = order_a.zip(order_b).filter(|(x, y)| x != y).count() / 2;
    let m = matches as f64;
    let jaro = (m / a.len() as f64 + m / b.len() as f64 + (m - moved as f64) / m) / 3.0;
    let prefix = a.iter().zip(b).take(4).take_while(|(x, y)| x == y).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}
