package flowtest

import (
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
)

// pair is one line of an alignment: an expected and a found document that stand against
// each other; -1 where there is none.
type pair struct{ want, got int }

// align sets two lists against each other so that as many as possible are equal, in order. What
// is left between two equal ones is paired as it comes.
func align(want, got []string) []pair {
	var out []pair
	i, j := 0, 0
	for _, p := range common(want, got) {
		out = rest(out, i, p.want, j, p.got)
		out = append(out, p)
		i, j = p.want+1, p.got+1
	}
	return rest(out, i, len(want), j, len(got))
}

func rest(out []pair, i, iEnd, j, jEnd int) []pair {
	for i < iEnd || j < jEnd {
		p := pair{-1, -1}
		if i < iEnd {
			p.want = i
			i++
		}
		if j < jEnd {
			p.got = j
			j++
		}
		out = append(out, p)
	}
	return out
}

// tableMost bounds the table of a longest common subsequence; longer lists are compared place by place.
const tableMost = 4_000_000

// common is a longest common subsequence.
func common(want, got []string) []pair {
	var out []pair
	start := 0
	for start < len(want) && start < len(got) && want[start] == got[start] {
		out = append(out, pair{start, start})
		start++
	}
	n, m := len(want), len(got)
	var end []pair
	for n > start && m > start && want[n-1] == got[m-1] {
		n, m = n-1, m-1
		end = append(end, pair{n, m})
	}
	slices.Reverse(end)
	a, b := want[start:n], got[start:m]
	if len(a)*len(b) <= tableMost {
		for _, p := range table(a, b) {
			out = append(out, pair{p.want + start, p.got + start})
		}
	} else {
		for k := range min(len(a), len(b)) {
			if a[k] == b[k] {
				out = append(out, pair{k + start, k + start})
			}
		}
	}
	return append(out, end...)
}

func table(a, b []string) []pair {
	longest := make([][]int32, len(a)+1)
	for i := range longest {
		longest[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	var out []pair
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			out = append(out, pair{i, j})
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return out
}

// multiset pairs equal documents whatever their order, and then what is left as it comes.
func multiset(want, got []string) []pair {
	at := map[string][]int{}
	for j, s := range got {
		at[s] = append(at[s], j)
	}
	var out []pair
	var left []int
	used := make([]bool, len(got))
	for i, s := range want {
		if js := at[s]; len(js) > 0 {
			out = append(out, pair{i, js[0]})
			at[s], used[js[0]] = js[1:], true
		} else {
			left = append(left, i)
		}
	}
	for j := range got {
		if used[j] {
			continue
		}
		p := pair{-1, j}
		if len(left) > 0 {
			p.want, left = left[0], left[1:]
		}
		out = append(out, p)
	}
	for _, i := range left {
		out = append(out, pair{i, -1})
	}
	return out
}

// shown is how many differences a failure shows.
const shown = 10

// show writes the pairs that differ. It returns where the first expected one of them stands.
func (f *found) show(pairs []pair, want []*penstock.Tree) (string, penstock.Pos) {
	got := f.trees
	var b strings.Builder
	var pos penstock.Pos
	n := 0
	for _, p := range pairs {
		var lines []string
		switch {
		case p.want < 0:
			lines = []string{fmt.Sprintf("%s %d: not expected: %s", f.each(), p.got+1, clip(text(got[p.got])))}
		case p.got < 0:
			lines = []string{"missing: " + clip(text(want[p.want]))}
			pos = first(pos, want[p.want].Pos)
		default:
			diff := differences(want[p.want], got[p.got], false)
			if len(diff) == 0 {
				continue
			}
			pos = first(pos, diff[0].pos)
			lines = describe(fmt.Sprintf("%s %d", f.each(), p.got+1), diff)
		}
		if n++; n <= shown {
			b.WriteString(strings.Join(lines, "\n") + "\n")
		}
	}
	if n > shown {
		fmt.Fprintf(&b, "… and %d more\n", n-shown)
	}
	return b.String(), pos
}

func first(a, b penstock.Pos) penstock.Pos {
	if a.IsValid() {
		return a
	}
	return b
}

// describe lists the differences of one document under a title.
func describe(title string, diff []difference) []string {
	if len(diff) == 1 {
		return []string{title + ": " + diff[0].String()}
	}
	lines := []string{title + ":"}
	for i, d := range diff {
		if i == shown {
			lines = append(lines, fmt.Sprintf("  … and %d more", len(diff)-shown))
			break
		}
		lines = append(lines, "  "+d.String())
	}
	return lines
}
