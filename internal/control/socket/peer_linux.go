package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// peer says who is at the other end of a connection, and refuses everybody but the process's own user and root (SO_PEERCRED,
// unix(7)).
func peer(c net.Conn) (who string, err error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return "", errors.New("this is no Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return "", err
	}
	var cred *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return "", err
	}
	if failed != nil {
		return "", failed
	}
	if int(cred.Uid) != os.Getuid() && cred.Uid != 0 {
		return "", fmt.Errorf("user %d is not the owner", cred.Uid)
	}
	return userName(strconv.Itoa(int(cred.Uid))), nil
}

func userName(id string) string {
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
