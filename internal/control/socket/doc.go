// Package socket is how a command asks a process that runs: HTTP with JSON over a Unix socket that only its owner may use. It
// carries package operate: [Serve] answers with the operations that it is given, and [Dial] makes the same operations of a
// connection.
//
// The protocol is private to one version of the program and its neighbours; its paths begin with its version. Each operation is a POST
// of its request to /v1/<operation>. The answer is JSON lines: any number of {"item": …} (progress, or what a long list is made
// of), and at the end {"result": …} or {"error": …}. An answer that ends without one of these broke off.
//
// The socket lies beside the store where that folder is private to the owner and the path short enough for a socket (about 100
// bytes); otherwise in a private folder of the system's folder for temporary files, under a name made of the store's path.
package socket
