// Package upstream is an HTTP client for programs that ask the same few hosts all the time: a pool of HTTP/1.1 connections that are
// kept, used by whoever asks on its own goroutine. A request is written with one system call where it is small, and its answer read into
// memory that the caller gives; no goroutine stands behind a connection. HTTP/2, where it is negotiated, is net/http's.
//
// Answers are read strictly (RFC 9112): whatever two readers could understand differently (two lengths, a length beside chunks, folded lines,
// bare line feeds) is an error, and the connection is closed. A connection is used again only if its answer ended where it said,
// and nothing came behind it.
//
// The client tries nothing again, with one exception, which net/http makes, too: a connection that was kept may have been closed by the other side
// while it lay idle. If it turns out to be so before any byte of an answer has come, a request that may be repeated
// (Request.Repeatable), or of which nothing was sent, goes out once more over a new connection.
package upstream
