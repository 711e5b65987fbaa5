package view

// BoundPast sets what one query as of then takes at most.
func (e *Engine) BoundPast(bytes, events int64) { e.past = pastBounds{bytes, events} }
