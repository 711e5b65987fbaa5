//go:build !linux && !darwin

package cli

import "errors"

// singleKeys has a terminal give keys as they are pressed.
func singleKeys(int) (restore func(), err error) {
	return nil, errors.New("keys can't be read one by one here")
}
