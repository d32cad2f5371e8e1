// SunPKCS11 encrypts while the key rotates; everything opens. Arguments: the configuration of the provider, seconds.

import java.security.KeyStore;
import java.security.Provider;
import java.security.SecureRandom;
import java.security.Security;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import javax.crypto.Cipher;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;

public class Rotation {
    record Message(byte[] text, byte[] iv, byte[] sealed) {}

    public static void main(String[] arguments) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        Security.addProvider(provider);
        KeyStore keys = KeyStore.getInstance("PKCS11", provider);
        keys.load(null, null);
        SecretKey key = (SecretKey) keys.getKey("orders", null);
        if (key == null) throw new AssertionError("no key is labelled orders: " + java.util.Collections.list(keys.aliases()));
        SecureRandom random = new SecureRandom();
        List<Message> kept = new ArrayList<>();
        long end = System.nanoTime() + Long.parseLong(arguments[1]) * 1_000_000_000L;
        Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding", provider);
        while (System.nanoTime() < end) {
            byte[] text = new byte[40], iv = new byte[12];
            random.nextBytes(text);
            random.nextBytes(iv);
            if (kept.size() % 2 == 0) {
                cipher.init(Cipher.ENCRYPT_MODE, key, new GCMParameterSpec(128, iv));
            } else {
                // The provider generates the IV.
                cipher.init(Cipher.ENCRYPT_MODE, key);
                iv = cipher.getIV();
            }
            cipher.updateAAD(new byte[] {1, 2, 3});
            kept.add(new Message(text, iv, cipher.doFinal(text)));
            Thread.sleep(10);
        }
        for (Message message : kept) {
            cipher.init(Cipher.DECRYPT_MODE, key, new GCMParameterSpec(128, message.iv));
            cipher.updateAAD(new byte[] {1, 2, 3});
            if (!Arrays.equals(cipher.doFinal(message.sealed), message.text)) throw new AssertionError("another text");
        }
        byte[] altered = kept.get(0).sealed.clone();
        altered[0] ^= 1;
        cipher.init(Cipher.DECRYPT_MODE, key, new GCMParameterSpec(128, kept.get(0).iv));
        cipher.updateAAD(new byte[] {1, 2, 3});
        try {
            cipher.doFinal(altered);
            throw new AssertionError("an altered message opened");
        } catch (javax.crypto.AEADBadTagException expected) {
        }
        System.out.println(kept.size() + " messages");
    }
}
