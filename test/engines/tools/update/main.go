// Update changes the limits of a running container of containerd, which ctr
// cannot.
//
//	update SOCKET NAMESPACE CONTAINER RESOURCES
//
// RESOURCES is the JSON of the OCI runtime specification's linux.resources.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const deadline = time.Minute

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: update SOCKET NAMESPACE CONTAINER RESOURCES")
		os.Exit(2)
	}
	if err := update(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "update:", err)
		os.Exit(1)
	}
}

func update(socket, namespace, id, text string) error {
	var resources specs.LinuxResources
	if err := json.Unmarshal([]byte(text), &resources); err != nil {
		return fmt.Errorf("read resources: %w", err)
	}
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), deadline)
	defer cancel()
	client, err := containerd.New(socket)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", socket, err)
	}
	defer client.Close()
	container, err := client.LoadContainer(ctx, id)
	if err != nil {
		return fmt.Errorf("find %s: %w", id, err)
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return fmt.Errorf("find the task of %s: %w", id, err)
	}
	return task.Update(ctx, containerd.WithResources(&resources))
}
