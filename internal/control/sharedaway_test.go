package control

import (
	"errors"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestAStoreThatIsAwayForAMomentEndsNothing: what failed because of the server is begun again, also where the server answers as soon as somebody looks.
func TestAStoreThatIsAwayForAMomentEndsNothing(t *testing.T) {
	c := newCluster(t, chain)
	a := c.join()
	c.until("it runs", func() bool { return together(a) })
	s := a.x.r.shared
	if !s.lostBy(c.db, &penstock.Error{Code: penstock.Unavailable, Op: "open a", Err: store.ErrAway}) {
		t.Error("a flow that could not read the store ends the program")
	}
	if s.lostBy(c.db, errors.New("no such file")) {
		t.Error("the store is blamed for what it has nothing to do with")
	}
	var opened atomic.Bool
	a.x.st.mu.Lock()
	a.x.st.other = func() (store.Store, error) {
		opened.Store(true)
		return lent{c.db, a.role}, nil
	}
	a.x.st.mu.Unlock()
	s.lose()
	c.until("it runs again, in the same process", func() bool { return opened.Load() && together(a) })
	c.send("a", 0, 100)
	c.until("all are through", func() bool { return c.next("c") >= 100 })
}
