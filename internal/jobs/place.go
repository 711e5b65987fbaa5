package jobs

import "penstock.dev/penstock/internal/store"

// home is the part that all of a queue lives in: one, so that what it promises of order and bounds holds for the whole queue.
func home(queue string, parts int) int { return store.PartOf("job/"+queue, parts) }

// in is the name of a queue's space.
func in(queue, what string, parts int) string {
	return store.InPart("job/"+queue+"/"+what, home(queue, parts))
}
