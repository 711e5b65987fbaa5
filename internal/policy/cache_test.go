package policy_test

import (
	"fmt"
	"testing"
	"time"

	"penstock.dev/penstock/internal/policy"
)

func TestCacheKeeps(t *testing.T) {
	c := policy.NewCache[int](1 << 20)
	for i := range 300 {
		c.Put(0, fmt.Sprint(i), i, 100, time.Second, time.Second)
		for j := range i + 1 {
			if v, fresh, ok := c.Get(0, fmt.Sprint(j)); !ok || !fresh || v != j {
				t.Fatalf("after %d: %d is %d, %t %t", i, j, v, fresh, ok)
			}
		}
	}
}
