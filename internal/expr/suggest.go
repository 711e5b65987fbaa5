package expr

import "strings"

// nearest finds the candidate that name was probably meant to be: "" if none is near.
func nearest(name string, candidates []string) string {
	if len(name) < 2 {
		return ""
	}
	best, most := "", max(1, len(name)/3)
	lower := strings.ToLower(name)
	for _, c := range candidates {
		if d := distance(lower, strings.ToLower(c), most); d < most || d == most && best == "" {
			best, most = c, d
		}
	}
	return best
}

// didYouMean words a suggestion; "" if there is none.
func didYouMean(name string, candidates []string) string {
	if c := nearest(name, candidates); c != "" {
		return "did you mean `" + c + "`?"
	}
	return ""
}

// distance counts the edits (insert, delete, replace, swap neighbours) from a to b, giving
// up above limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
