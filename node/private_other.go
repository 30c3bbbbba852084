//go:build !unix

package node

func keepPrivate() {}
