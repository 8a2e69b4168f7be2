//go:build seccomp

package nsinit

// #cgo LDFLAGS: -lseccomp -Wl,--wrap=seccomp_attr_set
import "C"
