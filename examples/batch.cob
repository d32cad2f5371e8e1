*> A COBOL batch job that encrypts the card numbers of its records, and reads them again.
*>
*>   batch DIR     creates a keystore in DIR
*>   cobc -x -free batch.cob -Q -Wl,--no-as-needed -lkms
*>
*> A CALL finds its function when it is made: the linker sees no use of libkms, and would leave it out if it were allowed to.
*> Pointers and lengths go BY VALUE, buffers and results BY REFERENCE. Texts for the library end with X"00".
*> size_t is BINARY-DOUBLE UNSIGNED, int32_t and a status BINARY-LONG; an id has 36 characters and its X"00". A number that
*> the library writes is of level 01, where it lies on a boundary of 8.
IDENTIFICATION DIVISION.
PROGRAM-ID. batch.

DATA DIVISION.
WORKING-STORAGE SECTION.
01 folder          PIC X(200).
01 store-path      PIC X(220).
01 root-path       PIC X(220).
01 how-to-open     USAGE POINTER.
01 keystore        USAGE POINTER.
01 no-pointer      USAGE POINTER VALUE NULL.
01 rc              USAGE BINARY-LONG.
01 yes             USAGE BINARY-LONG VALUE 1.
01 what            PIC X(30).
01 reason          PIC X(256).
01 reason-size     USAGE BINARY-DOUBLE UNSIGNED VALUE 256.
01 key-id          PIC X(37).
01 none            USAGE BINARY-DOUBLE UNSIGNED VALUE 0.
01 card-size       USAGE BINARY-DOUBLE UNSIGNED VALUE 19.
01 blob-room       USAGE BINARY-DOUBLE UNSIGNED VALUE 131.
01 found-size      USAGE BINARY-DOUBLE UNSIGNED.
01 i               USAGE BINARY-LONG.
01 found-card      PIC X(19).

*> The batch: card numbers in the clear, and what the file on disk would hold.
01 card-table.
   05 card         PIC X(19) OCCURS 3.
01 sealed-table.
   05 sealed OCCURS 3.
      10 blob-size USAGE BINARY-DOUBLE UNSIGNED.
      10 blob      PIC X(131).

PROCEDURE DIVISION.
main-line.
    ACCEPT folder FROM COMMAND-LINE
    IF folder = SPACES
        DISPLAY "usage: batch DIR" UPON SYSERR
        STOP RUN RETURNING 2
    END-IF
    STRING FUNCTION TRIM(folder) "/batch.db" X"00" DELIMITED BY SIZE INTO store-path
    STRING FUNCTION TRIM(folder) "/batch.key" X"00" DELIMITED BY SIZE INTO root-path
    MOVE "4111 1111 1111 1111" TO card(1)
    MOVE "5500 0000 0000 0004" TO card(2)
    MOVE "3400 0000 0000 009"  TO card(3)

    CALL "kms_options_new" RETURNING how-to-open
    MOVE "the root key file" TO what
    CALL "kms_options_set_root_key_file" USING BY VALUE how-to-open BY REFERENCE root-path RETURNING rc
    PERFORM must-be-ok
    CALL "kms_options_set_create" USING BY VALUE how-to-open BY VALUE yes RETURNING rc
    PERFORM must-be-ok
    MOVE "opening the keystore" TO what
    CALL "kms_open" USING BY REFERENCE store-path BY VALUE how-to-open BY REFERENCE keystore RETURNING rc
    PERFORM must-be-ok
    CALL "kms_options_free" USING BY VALUE how-to-open

    MOVE "making the key" TO what
    CALL "kms_create_key" USING BY VALUE keystore BY VALUE no-pointer BY REFERENCE key-id RETURNING rc
    PERFORM must-be-ok

    PERFORM VARYING i FROM 1 BY 1 UNTIL i > 3
        MOVE "encrypting" TO what
        CALL "kms_encrypt" USING BY VALUE keystore BY REFERENCE key-id BY REFERENCE card(i) BY VALUE card-size
            BY VALUE no-pointer BY VALUE none BY REFERENCE blob(i) BY VALUE blob-room BY REFERENCE found-size
            RETURNING rc
        PERFORM must-be-ok
        MOVE found-size TO blob-size(i)
        MOVE "rotating" TO what
        CALL "kms_rotate" USING BY VALUE keystore BY REFERENCE key-id BY VALUE no-pointer RETURNING rc
        PERFORM must-be-ok
    END-PERFORM

    PERFORM VARYING i FROM 1 BY 1 UNTIL i > 3
        MOVE "decrypting" TO what
        CALL "kms_decrypt" USING BY VALUE keystore BY REFERENCE blob(i) BY VALUE blob-size(i)
            BY VALUE no-pointer BY VALUE none BY REFERENCE found-card BY VALUE card-size BY REFERENCE found-size
            RETURNING rc
        PERFORM must-be-ok
        IF found-card NOT = card(i) OR found-size NOT = card-size
            DISPLAY "FAILED: a card number has changed" UPON SYSERR
            STOP RUN RETURNING 1
        END-IF
    END-PERFORM
    CALL "kms_close" USING BY VALUE keystore
    DISPLAY "3 records, each under a version of its own, are readable"
    STOP RUN.

must-be-ok.
    IF rc NOT = 0
        CALL "kms_last_error" USING BY REFERENCE reason BY VALUE reason-size RETURNING OMITTED
        INSPECT reason REPLACING CHARACTERS BY SPACE AFTER INITIAL X"00"
        DISPLAY "FAILED: " FUNCTION TRIM(what) ": status " rc ": " FUNCTION TRIM(reason) UPON SYSERR
        STOP RUN RETURNING 1
    END-IF.
