package grpcbody

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	// The files that descriptor sets may leave out.
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// Methods are the gRPC methods of descriptor sets. The zero Methods knows none.
type Methods struct {
	byPath   map[string]*Method
	services map[string]bool
}

// A Method is one gRPC method.
type Method struct {
	input    protoreflect.MessageDescriptor
	types    *dynamicpb.Types
	streamed bool // by the client
}

// Load reads descriptor sets: google.protobuf.FileDescriptorSet, as
// protoc --include_imports --descriptor_set_out and buf build make it. A file
// may be in several sets if it is the same in each. Those of protobuf itself
// (google/protobuf/*.proto) may be missing.
func Load(sets ...[]byte) (*Methods, error) {
	files := map[string]*descriptorpb.FileDescriptorProto{}
	for _, b := range sets {
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(b, &set); err != nil {
			return nil, errors.New("this is not a descriptor set; make one with protoc --include_imports --descriptor_set_out, or buf build")
		}
		if len(set.File) == 0 {
			return nil, errors.New("the descriptor set is empty")
		}
		for _, f := range set.File {
			f.SourceCodeInfo = nil // comments
			if before, ok := files[f.GetName()]; ok && !proto.Equal(before, f) {
				return nil, fmt.Errorf("the file %s is there twice, with different contents", f.GetName())
			}
			files[f.GetName()] = f
		}
	}
	if err := addKnown(files); err != nil {
		return nil, err
	}
	all := new(descriptorpb.FileDescriptorSet)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all.File = append(all.File, files[name])
	}
	registry, err := protodesc.NewFiles(all)
	if err != nil {
		return nil, fmt.Errorf("the descriptors are contradictory: %w", err)
	}
	m := &Methods{byPath: map[string]*Method{}, services: map[string]bool{}}
	types := dynamicpb.NewTypes(registry)
	registry.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			m.services[string(s.FullName())] = true
			for i := range s.Methods().Len() {
				d := s.Methods().Get(i)
				m.byPath["/"+string(s.FullName())+"/"+string(d.Name())] = &Method{input: d.Input(), types: types, streamed: d.IsStreamingClient()}
			}
		}
		return true
	})
	if len(m.byPath) == 0 {
		return nil, errors.New("the descriptors have no gRPC method")
	}
	return m, nil
}

// addKnown adds the files of protobuf itself that others import and no set has.
func addKnown(files map[string]*descriptorpb.FileDescriptorProto) error {
	todo := slices.Sorted(maps.Keys(files))
	for len(todo) > 0 {
		f := files[todo[0]]
		todo = todo[1:]
		for _, name := range f.Dependency {
			if files[name] != nil {
				continue
			}
			known, err := protoregistry.GlobalFiles.FindFileByPath(name)
			if err != nil || !strings.HasPrefix(name, "google/protobuf/") {
				return fmt.Errorf("the file %s, which %s imports, is missing; make the set with --include_imports", name, f.GetName())
			}
			files[name] = protodesc.ToFileDescriptorProto(known)
			todo = append(todo, name)
		}
	}
	return nil
}

// Method gives the method of a request's path, /package.Service/Method, nil if
// the descriptors have none.
func (m *Methods) Method(path string) *Method {
	if m == nil {
		return nil
	}
	return m.byPath[path]
}

// Streamed tells whether the client sends a stream of messages. Decode does not
// read those.
func (m *Method) Streamed() bool { return m.streamed }

// HasService tells whether the descriptors have a service.
func (m *Methods) HasService(name string) bool { return m != nil && m.services[name] }
