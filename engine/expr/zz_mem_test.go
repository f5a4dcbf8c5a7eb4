package expr
import ("testing";"runtime";"fmt";"os";"runtime/pprof")
func TestZZMem(t *testing.T){
 runtime.MemProfileRate=1
 e:=newTestEnv(t)
 var keep [][]*Program
 measure:=func(name string, src string){
  const n=300
  ps:=make([]*Program,0,n)
  srcs:=make([]string,n)
  for i:=range srcs { srcs[i]=src+fmt.Sprintf(" && P.id != \"x%d\"",i) }
  var a,b runtime.MemStats
  runtime.GC();runtime.GC(); runtime.ReadMemStats(&a)
  for i:=0;i<n;i++{ p,is:=e.Compile(srcs[i]); if is!=nil{t.Fatal(is)}; ps=append(ps,p)}
  runtime.GC();runtime.GC(); runtime.ReadMemStats(&b)
  per:=int64(b.HeapAlloc-a.HeapAlloc)/n
  fmt.Printf("%-12s %6d B  native=%v  %s\n",name,per,ps[0].native!=nil, src)
  keep=append(keep,ps)
 }
 measure("true","true")
 measure("x",`R.attr.owner == P.id && R.attr.amount < 1000.0`)
 for _,s:=range policyShapes { measure(s.name,s.source)}
 f,_:=os.Create("/tmp/exprB.74gx/mem.prof"); pprof.WriteHeapProfile(f); f.Close()
 runtime.KeepAlive(keep)
}
