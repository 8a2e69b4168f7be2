package service

import (
	"errors"
	"fmt"
)

var (
	// ErrNoService says that the file does not have the service asked for.
	ErrNoService = errors.New("no such service")
	// ErrNoCommand says that neither service nor image has a program to run.
	ErrNoCommand = errors.New("there is no command to run")
	// ErrUser says that a user or group is not in the root filesystem's accounts.
	ErrUser = errors.New("no such user or group")
	// ErrAccounts says that an account file cannot be used as one.
	ErrAccounts = errors.New("account file is not usable")
)

// ReadError is one problem of a service file.
type ReadError struct {
	// File as the caller named it.
	File string
	// Line and Column count from 1; 0 where the problem has no place.
	Line, Column int
	// Problem is a clause: "key \"comand\" is not known; did you mean command?".
	Problem string
}

func (e *ReadError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}
