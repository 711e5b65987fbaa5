// Package httpd is the one HTTP listener of a process: what `from: {http: …}` and everything else that speaks HTTP is mounted on.
//
// It is net/http's server (HTTP/1.1, and HTTP/2 over TLS) behind a gate that refuses what different readers of HTTP/1.1 understand
// differently, and in front of it package plain, which serves small requests of HTTP/1.1 about which there can be no two opinions; with a router that decodes a path once and never cleans it, limits for all that a peer could draw out,
// and certificates that are read again when they change.
package httpd
