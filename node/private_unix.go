//go:build unix

package node

import "syscall"

// keepPrivate makes the files of this process readable by its user only.
func keepPrivate() { syscall.Umask(0o077) }
