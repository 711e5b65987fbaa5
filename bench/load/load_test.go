package load

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBody(t *testing.T) {
	for _, i := range []int64{0, 7, 123456789, 1 << 60} {
		b := Body([]byte("x"), i)[1:]
		var v struct{ ID string }
		if err := json.Unmarshal(b, &v); err != nil || len(b) != MessageBytes || v.ID == "" {
			t.Errorf("%d: %d bytes, %v: %s", i, len(b), err, b)
		}
	}
}

func TestPublishGivesConsecutiveNumbers(t *testing.T) {
	var mu sync.Mutex
	seen := map[int64]int{}
	p, err := Publish(8, 100, time.Hour, 0, func(_ int, i int64) error {
		mu.Lock()
		defer mu.Unlock()
		if len(seen) == 1000 {
			return ErrOver
		}
		seen[i]++
		return nil
	})
	if err != nil || len(p.Took) != 1000 || p.Next() != 1100 {
		t.Fatal(len(p.Took), err)
	}
	for i, n := range seen {
		if n != 1 || i < 100 {
			t.Errorf("%d was sent %d times", i, n)
		}
	}
}

func TestPublishEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Publish(2, 0, time.Hour, 0, func(int, int64) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestQuantile(t *testing.T) {
	var p Publishing
	if p.Quantile(0.5) != 0 {
		t.Error("nothing was sent")
	}
	for i := range 100 {
		p.Took = append(p.Took, time.Duration(i+1)*time.Millisecond)
	}
	if p.Quantile(0.5) != 51 || p.Quantile(0.99) != 100 || p.Quantile(1) != 100 {
		t.Error(p.Quantile(0.5), p.Quantile(0.99), p.Quantile(1))
	}
}

func TestPrint(t *testing.T) {
	var r Result
	r.Add("rate", "messages/s", 5)
	var b strings.Builder
	if err := r.Print(&b); err != nil || b.String() != `{"figures":[{"name":"rate","unit":"messages/s","value":5}]}`+"\n" {
		t.Error(b.String(), err)
	}
}
