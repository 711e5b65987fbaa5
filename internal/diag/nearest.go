package diag

import "strings"

// Nearest is the word of choice that is most like word, or "" if none is like it: equal but for
// case and punctuation, or at most a third of its letters away.
func Nearest(word string, choice []string) string {
	folded := fold(word)
	best, bestAt := "", len(folded)/3+1
	if len(folded) <= 3 {
		bestAt = 2
	}
	for _, c := range choice {
		f := fold(c)
		if f == folded {
			return c
		}
		if at := distance(folded, f); at < bestAt && at < len(f) {
			best, bestAt = c, at
		}
	}
	return best
}

func fold(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours between a
// and b (optimal string alignment).
func distance(a, b string) int {
	before, last, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(last[j]+1, cur[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, last, cur = last, cur, before
	}
	return last[len(b)]
}
