// Package plain serves the requests of HTTP/1.1 about which there can be no two opinions, and leaves all others to whoever takes the connection
// over, with the bytes that were read.
//
// It exists for speed: for a small request net/http costs as much again as the system does to receive it and to send the answer. It is
// no second server with a mind of its own. It has no error to answer with and refuses nothing: whatever is not exactly of
// the form below is handed over before anybody has seen it, and what net/http, behind its guard, makes of it is what becomes of it.
// So the only thing that must hold is that net/http would have understood the same; a fuzz test holds that against net/http itself.
//
// A request is plain if
//
//   - its first line is one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS, a path with an optional query in the characters of RFC 3986 that does
//     not begin with two slashes, and HTTP/1.1, with one space between them;
//   - every line ends in CRLF, and each header is a token, a colon right behind it, and text of visible ASCII, spaces and tabs;
//   - it has one Host; at most one Content-Length, of digits without a leading zero; a Connection, if any, of keep-alive or close; and no
//     Transfer-Encoding, Trailer, Upgrade or Expect;
//   - its head is at most 8 KiB with at most 64 headers, and with its body at most 64 KiB;
//   - all of it is there within 20 ms of its first byte;
//   - and its route's handler said that it is one for this path ([penstock.HTTPRoute].Brief).
package plain
