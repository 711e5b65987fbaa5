package penstock

import "context"

type askedKey struct{}

// ContextWithAsked notes what a request is known by when it is asked again: equal texts are the same request, sent once more by somebody who got no answer. A
// server that lets its callers say so (an idempotency key) hands its Handler such a context, with the one message of the request. The text tells the
// request from all others of the server, also from another one that was given the same key. Steps that are done once for each
// identity, such as commands of entities, are then not done again for a request that was given up in their midst.
func ContextWithAsked(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, askedKey{}, id)
}

// AskedFrom finds what [ContextWithAsked] has noted; "" where the request is known by nothing.
func AskedFrom(ctx context.Context) string {
	id, _ := ctx.Value(askedKey{}).(string)
	return id
}
