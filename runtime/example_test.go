package runtime_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/sandboxrun/sandboxrun/runtime"
)

// Run a bundle's program under a time limit and read the report.
func ExampleRuntime_Run() {
	root, err := os.MkdirTemp("", "sandboxrun-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	bundle, err := loadWorkload("exit", "3")
	if err != nil {
		log.Fatal(err)
	}

	rt, err := runtime.New(runtime.Config{Root: root})
	if err != nil {
		log.Fatal(err)
	}
	report, err := rt.Run(context.Background(), runtime.RunOptions{
		CreateOptions: runtime.CreateOptions{ID: "example-run", Bundle: bundle.Dir, Spec: bundle.Spec},
		WallTime:      time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Reason, report.ExitCode)
	// Output: exited 3
}

// Create a container, let it run when everything else is ready, wait for it
// and remove it.
func ExampleRuntime_Create() {
	root, err := os.MkdirTemp("", "sandboxrun-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	bundle, err := loadWorkload("args", "hello")
	if err != nil {
		log.Fatal(err)
	}

	rt, err := runtime.New(runtime.Config{Root: root})
	if err != nil {
		log.Fatal(err)
	}
	container, err := rt.Create(runtime.CreateOptions{
		ID:             "example-create",
		Bundle:         bundle.Dir,
		Spec:           bundle.Spec,
		ProcessOptions: runtime.ProcessOptions{Stdout: os.Stdout, Stderr: os.Stderr},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Delete(context.Background(), container.ID(), true)

	state, err := container.State()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.Status)
	if err := container.Start(); err != nil {
		log.Fatal(err)
	}
	status, err := container.Wait()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("exit code", status.Code)
	// Output:
	// created
	// "hello"
	// exit code 0
}
