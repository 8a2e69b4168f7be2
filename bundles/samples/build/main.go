// Build makes the sample bundles:
//
//	go run ./bundles/samples/build [-o DIR] [NAME...]
//
// It makes all of them when none is named, and prints the path of each.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sandboxrun/sandboxrun/bundles/samples"
)

func main() {
	dir := flag.String("o", "bin/bundles", "`directory` to make the bundles in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := build(ctx, *dir, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(ctx context.Context, dir string, names []string) error {
	if len(names) == 0 {
		names = samples.Names()
	}
	for _, name := range names {
		bundle, err := samples.Build(ctx, dir, name)
		if err != nil {
			return err
		}
		fmt.Println(bundle.Dir)
	}
	return nil
}
