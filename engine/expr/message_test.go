package expr
import ("testing";"math/rand/v2";"fmt";"sort";"edict/engine/value")
func TestZZMsg(t *testing.T){
 e:=newTestEnv(t); g:=&generator{Rand: rand.New(rand.NewPCG(11,1))}
 var fs []*Frame
 for range 40 { fs=append(fs,g.facts().frame(e)) }
 diff:=map[string]int{}; ex:=map[string]string{}; n,same:=0,0
 for range 3000 { src:=g.expression(1+g.IntN(4)); p,is:=e.Compile(src); if len(is)>0||p.native==nil {continue}
  for _,f:=range fs { a:=p.evalNative(f); if punts(a)||a.Kind()!=value.Error {continue}; b:=p.evalCEL(f); n++
   if b.Err()!=nil && a.Err().Error()==b.Err().Error() {same++;continue}
   k:=fmt.Sprintf("%.28s | %.28s",a.Err(),b.Err()); diff[k]++; if len(ex[k])==0||len(src)<len(ex[k]) {ex[k]=src} } }
 fmt.Println(n,same)
 var ks []string; for k:=range diff{ks=append(ks,k)}; sort.Slice(ks,func(i,j int)bool{return diff[ks[i]]>diff[ks[j]]})
 for _,k:=range ks[:min(25,len(ks))] {fmt.Println(diff[k],k,"   ",ex[k])}
}
