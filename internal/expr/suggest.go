package expr

import "penstock.dev/penstock/internal/diag"

// nearest finds the candidate that name was probably meant to be: "" if none is near, or if the
// name is too short to be like anything.
func nearest(name string, candidates []string) string {
	if len(name) < 2 {
		return ""
	}
	return diag.Nearest(name, candidates)
}

// didYouMean words a suggestion; "" if there is none.
func didYouMean(name string, candidates []string) string {
	if c := nearest(name, candidates); c != "" {
		return "did you mean `" + c + "`?"
	}
	return ""
}
