package operate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
)

// clusterer gathers dead letters that failed in the same way.
type clusterer struct {
	count int64
	by    map[clusterKey]*Cluster
}

type clusterKey struct{ flow, step, code, message, path string }

// maxClusters bounds the clusters that are told apart; what is beyond joins one that says so.
const maxClusters = 1000

// otherReasons is the message of the cluster of what is beyond [maxClusters].
const otherReasons = "(other reasons)"

func newClusterer() *clusterer { return &clusterer{by: map[clusterKey]*Cluster{}} }

func (c *clusterer) add(flow, id string, r *Reason) {
	c.count++
	k := clusterKey{flow, r.Step, string(r.Code), shape(r.Message), shapeOfPath(r.Path)}
	cl := c.by[k]
	if cl == nil && len(c.by) >= maxClusters {
		k = clusterKey{flow: flow, message: otherReasons}
		cl = c.by[k]
	}
	at, err := time.Parse(time.RFC3339Nano, r.Time)
	if err != nil {
		at = time.Time{} // a letter that somebody wrote by hand
	}
	if cl == nil {
		cl = &Cluster{Flow: flow, Step: k.step, Code: penstock.Code(k.code), Path: k.path, Oldest: at, Message: otherReasons}
		c.by[k] = cl
	}
	cl.Count++
	if at.Before(cl.Oldest) {
		cl.Oldest = at
	}
	if !at.Before(cl.Newest) || cl.Count == 1 {
		cl.Newest, cl.Example = at, id
		if k.message != otherReasons {
			cl.Message = r.Message
		}
	}
}

// result lists the clusters, the largest first.
func (c *clusterer) result() *Clusters {
	out := &Clusters{Count: c.count, Clusters: make([]Cluster, 0, len(c.by))}
	for _, cl := range c.by {
		out.Clusters = append(out.Clusters, *cl)
	}
	slices.SortFunc(out.Clusters, func(a, b Cluster) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Flow, b.Flow), strings.Compare(a.Step, b.Step), strings.Compare(a.Message, b.Message), strings.Compare(a.Path, b.Path))
	})
	return out
}

// shape is a message without what differs between two failures of the same kind: figures, and what stands in quotes.
func shape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9') {
				i++
			}
			b.WriteByte('#')
		case c == '"' || c == '`' || c == '\'' && (i == 0 || !letter(s[i-1])): // no apostrophe
			end := closing(s, i)
			if end < 0 {
				b.WriteByte(c)
				i++
				continue
			}
			b.WriteByte(c)
			b.WriteString("…")
			b.WriteByte(c)
			i = end + 1
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 }

// closing finds the quote that closes the one at i, or -1.
func closing(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case s[i]:
			return j
		}
	}
	return -1
}

// shapeOfPath is a path without the places in lists: lines[3].price is lines[*].price. The keys of maps are left, as
// they are what is looked for.
func shapeOfPath(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteByte(s[i])
		if s[i] != '[' {
			continue
		}
		j := i + 1
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		if j > i+1 && j < len(s) && s[j] == ']' {
			b.WriteByte('*')
			i = j - 1
		}
	}
	return b.String()
}
