package penstock

import "net/http"

// Listener is the process's one HTTP listener, as drivers see it (Env.Listener). It is safe for concurrent use.
type Listener interface {
	// Mount serves a route until unmount is called; requests that are being answered then finish with the handler that they
	// began with, and unmount returns when the last of them has. The same owner may mount the same method and path again: the new handler
	// takes over at once, and the old unmount only waits. Another owner's route that matches the same requests, where neither says
	// more, is an error which names both.
	Mount(r HTTPRoute) (unmount func(), err error)
}

// Replacer is implemented by a [Listener] on which routes can be given from one owner to another.
type Replacer interface {
	// Replace is Mount, where r also takes the place of the routes of these owners that are in its way: at once, so that no request
	// finds none.
	Replace(r HTTPRoute, owners ...string) (unmount func(), err error)
}

// HTTPRoute is what a driver serves on the [Listener].
type HTTPRoute struct {
	Owner  string // Env.Name of who mounts it: flow/from
	Method string // GET, POST …; "" is every method
	// Path is a pattern: /orders/{id}, /files/{path...}. It matches exactly, also at its end. {name} is one segment that is not empty, and
	// {name...} at the end all that follows; they are given to the handler as PathValue, decoded once. Of two patterns that match, the one
	// with text where the other has a name goes first. The path of a request is never cleaned.
	Path    string
	Handler http.Handler
	// Brief says that Handler answers small requests from memory: it reads no more than the request's body, gathers its answer and never asks for a part of it to
	// be sent (http.Flusher), and when it has returned it keeps nothing of the request's headers and body, nor of the answer's headers. It may keep texts and the
	// context. The listener may then serve such requests at less cost, without net/http.
	Brief bool
}

// Streamed is implemented by the configuration of a Server of which one request may bring any number of messages. There is no reply to such a
// request: the compiler asks for a flow that sends its messages elsewhere.
type Streamed interface {
	// Streamed says that requests are streams of messages.
	Streamed() bool
}

// Routed is implemented by the configuration of a Server that is reached over the [Listener].
type Routed interface {
	// Routes lists where it will be mounted; of each, Method and Path are set. The compiler reports those of different flows that are in
	// conflict.
	Routes() []HTTPRoute
}
