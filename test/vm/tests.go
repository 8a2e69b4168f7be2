package main

import (
	"context"
)

func testCommand(ctx context.Context, args []string) (int, error) { return 0, nil }
