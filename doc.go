// Package penstock is the dictionary of Penstock: the small set of types that
// connectors, codecs and steps are written against. It imports the standard
// library, and of this module only types and jsonview, so that a driver written
// elsewhere needs nothing else.
//
// The path of a message: a [Source] reads a [Batch] of [Message] values, the
// engine runs a flow's steps over it, a [Sink] writes what is left, and the
// engine tells the source the fate of each message with [Source.Settle].
package penstock
