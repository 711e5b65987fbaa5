package flowtest

// edit is a change of a file that --update makes.
type edit struct {
	path string
}

func apply([]edit) ([]string, error) { return nil, nil }
